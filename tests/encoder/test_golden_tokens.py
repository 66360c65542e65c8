"""Every row of tokens.jsonl.gz: tokens, masked spans, attributes, decoded scores; and the presets' vocabularies."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midigpt_core.records import TokenStatus
from support.encoder import (
    GOLDENS,
    PRESETS,
    attributes_of,
    corpus_of,
    documents,
    encode,
    goldens,
    preset,
    spans,
    windows_of,
)

if TYPE_CHECKING:
    from conftest import NoteGolden


@cache
def corpus() -> Any:
    return corpus_of(*(row["score"] for row in goldens("scores")))


@cache
def rows_of(encoder: str) -> list[dict[str, Any]]:
    return [row for row in goldens("tokens") if row["encoder"] == encoder]


def requests(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    piece = {row["file"]: index for index, row in enumerate(goldens("scores"))}
    options = [{key: value for key, value in row["options"].items() if key != "compute"} for row in rows]
    return [{**row, **extra, "piece": piece[row["file"]]} for row, extra in zip(rows, options, strict=True)]


def name_of(row: dict[str, Any]) -> str:
    return f"{row['encoder']} {row['mode']} {row['file']} case {row['case']}"


@pytest.mark.parametrize("name", PRESETS)
def test_vocabulary(name: str, golden: NoteGolden) -> None:
    expected = json.loads((GOLDENS / "config_vocab.json").read_text())[name]
    vocabulary = preset(name).vocabulary
    table = [[vocabulary.type_names[int(vocabulary.type_of[0])], 0, 0]]
    for token in range(vocabulary.size):
        if vocabulary.value_of[token] == 0 and token > 0:
            table.append([vocabulary.type_names[int(vocabulary.type_of[token])], token, 0])
        table[-1][2] += 1
    same = vocabulary.size == expected["vocab_size"] and table == expected["table"]
    golden("config", "vocabulary", name, 1, [] if same else [name])
    assert table == expected["table"]
    assert vocabulary.size == expected["vocab_size"]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("compute", [True, False])
def test_tokens_and_spans(name: str, compute: bool, golden: NoteGolden) -> None:
    rows = [row for row in rows_of(name) if row["options"].get("compute", True) == compute]
    batch = encode(preset(name), corpus(), windows_of(requests(rows), compute_attributes=compute))
    wrong = [
        f"{name_of(row)}: {TokenStatus(int(status)).name}"
        for row, tokens, masked, status in zip(rows, documents(batch), spans(batch), batch.status, strict=True)
        if tokens != row["tokens"] or masked != row["spans"] or status != TokenStatus.OK
    ]
    for mode, count in Counter(row["mode"] for row in rows).items():
        golden("tokens", f"tokens and spans, {mode}", name, count, [what for what in wrong if f" {mode} " in what])
    assert wrong == []


@pytest.mark.parametrize("name", PRESETS)
def test_roles_start_with_the_first_block(name: str) -> None:
    rows = rows_of(name)
    batch = encode(preset(name), corpus(), windows_of(requests(rows)))
    vocabulary = preset(name).vocabulary
    start = vocabulary.type_names.index("FillInStart")
    for index, row in enumerate(rows):
        tokens = batch.tokens[batch.offsets[index] : batch.offsets[index + 1]]
        starts = np.flatnonzero(vocabulary.type_of[tokens] == start)
        context = int(starts[0]) if row["fill"] else 0
        role = batch.role[batch.offsets[index] : batch.offsets[index + 1]]
        assert role.tolist() == [0] * context + [1] * (len(tokens) - context), name_of(row)


@pytest.mark.parametrize("name", PRESETS)
def test_attributes(name: str, golden: NoteGolden) -> None:
    rows = [row for row in rows_of(name) if "attributes" in row]
    values = preset(name).compute_attributes(corpus(), windows_of(requests(rows)))
    wrong = []
    for row, window in zip(rows, values, strict=True):
        computed = attributes_of(preset(name), window, len(row["tracks"]), row["bars"])
        given = [{key: value for key, value in track.items() if key != "_nomml_raw"} for track in row["attributes"]]
        if computed != given:
            wrong.append(name_of(row))
    golden("tokens", "attributes", name, len(rows), wrong)
    assert wrong == []


@pytest.mark.parametrize("name", PRESETS)
def test_decoded_scores(name: str, golden: NoteGolden) -> None:
    wrong, wrong_raw, raw = [], [], 0
    for row in rows_of(name):
        tokens = np.array(row["tokens"], np.int32)
        if preset(name).decode(tokens).digest() != row["decoded_sha256"]:
            wrong.append(name_of(row))
        if "decoded_raw" in row:
            raw += 1
            if preset(name).decode(tokens, resample=False).to_dict() != row["decoded_raw"]:
                wrong_raw.append(name_of(row))
    golden("tokens", "decoded", name, len(rows_of(name)), wrong)
    golden("tokens", "decoded without resampling", name, raw, wrong_raw)
    assert wrong + wrong_raw == []
