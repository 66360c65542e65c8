"""The licence that a model card states: whatever the card contains, one line or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from midigpt_core.checkpoint.licences import licence_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("license: mit", "mit"),
        ("license: [mit, cc-by-4.0]", "mit, cc-by-4.0"),
        ("license: mit\ndate: 2020-99-99", "mit"),
        (f"license: mit\nx: {'9' * 5000}", "mit"),
        ("license: mit\nx: !!float a\ny: !!timestamp b", "mit"),
        ("license: {a: b}", None),
        ("license: ", None),
        ("- a", None),
        ("['" * 20_000, None),
        ("license: mit\n" + "x: -1:1:1" + ":1" * 500_000, None),  # larger than any card
    ],
)
def test_a_card_states_a_licence_or_none(tmp_path: Path, head: str, licence: str | None) -> None:
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n# A model\n", encoding="utf-8")
    assert licence_of(tmp_path, {}) == licence


def test_the_sources_tell_it_where_no_card_does(tmp_path: Path) -> None:
    assert licence_of(tmp_path, {"sources": ["gigamidi"]}) == "cc-by-nc-4.0"
    assert licence_of(tmp_path, {"sources": ["midifiles"], "base": {"licence": "mit"}}) == "mit"
    assert licence_of(tmp_path, {"sources": ["midifiles"]}) is None
