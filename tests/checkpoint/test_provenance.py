"""What a bundle records of its making, and how that is shown."""

from __future__ import annotations

import json
import re
import sys

import pytest

from midigpt_core import API_VERSION, __version__
from midigpt_core.checkpoint import build_encoder
from midigpt_core.checkpoint.provenance import data_sources, imported_provenance, options_hash, printable, provenance
from midigpt_core.components import ComponentRef
from midigpt_core.contracts import BundleHeader
from midigpt_core.errors import PluginError

REF = ComponentRef(
    kind="mask",
    name="swing",
    target="acme.swing:build",
    options={"max_lookahead": 4},
    plugin="acme",
    distribution="midigpt-plugin-acme",
    version="0.3",
)


def test_provenance_is_plain_and_names_every_part() -> None:
    record = provenance([REF], corpus="ab12", steps=5000, metrics={"loss": 2.5, "broken": float("nan")})
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["midigpt_core"] == __version__
    assert record["api"] == API_VERSION
    assert re.fullmatch(r"3\.\d+\.\d+.*", record["python"])
    assert re.match(r"\d+\.\d+", record["torch"])
    assert record["corpus"] == "ab12"
    assert record["steps"] == 5000
    assert record["metrics"] == {"loss": 2.5}
    assert record["components"]["mask"] == {
        "name": "swing",
        "plugin": "acme",
        "distribution": "midigpt-plugin-acme",
        "version": "0.3",
        "options_sha256": options_hash({"max_lookahead": 4}),
    }


def test_the_options_hash_tells_options_apart_whatever_their_order() -> None:
    assert options_hash({"a": 1, "b": 2}) == options_hash({"b": 2, "a": 1})
    assert options_hash({"a": 1}) != options_hash({"a": 2})


def test_the_sources_of_the_data_are_told_whatever_a_file_says() -> None:
    assert data_sources({"sources": ["acme", "unknown"], "components": {"source": {"name": "zed"}}}) == [
        "acme",
        "unknown",
    ]
    assert data_sources({"components": {"source": {"name": "zed"}}}) == ["zed"]
    for odd in ({}, {"sources": []}, {"sources": [3]}, {"components": []}, {"components": {"source": {"name": 3}}}):
        assert data_sources(odd) == ["unknown"]
    assert data_sources(imported_provenance([REF])) == ["unknown"]


def test_nothing_shown_can_move_the_cursor() -> None:
    hostile = "a\x1b[2Jb\r\nc\x07\x9bd\u202ee\u2066f\x00"
    shown = printable(hostile)
    assert shown.isprintable()
    assert shown.replace(" ", "") == "a[2Jbcdef"
    assert len(printable("x" * 10**6)) == 200
    assert printable("Größe ♪ 音") == "Größe ♪ 音"


@pytest.mark.parametrize("name", ["swing", "os:system", "acme.encoders:build", "../plugins/acme"])
def test_a_missing_component_is_named_with_where_it_came_from_and_nothing_is_imported(name: str) -> None:
    made_of = {"encoder": {"distribution": "midigpt-plugin-\x1b[2Jacme", "version": "0.3"}}
    header = BundleHeader(
        architecture="gpt2",
        architecture_config={},
        encoder=name,
        encoder_config={},
        provenance={"components": made_of},
    )
    with pytest.raises(PluginError) as caught:
        build_encoder(header)
    message = str(caught.value)
    assert f"no encoder named {name!r}" in message
    assert "made with that of 'midigpt-plugin- [2Jacme 0.3'; install it if you trust it." in message
    assert "acme" not in sys.modules
