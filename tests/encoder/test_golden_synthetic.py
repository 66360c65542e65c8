"""Every row of synthetic.jsonl.gz: random configurations and scores, domains, tokens, decoding, damaged decoding."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.errors import EncodingError
from midigpt_core.records import TokenStatus
from support.encoder import corpus_of, documents, encode, goldens, spans, windows_of

if TYPE_CHECKING:
    from conftest import NoteGolden

#: Statuses with which a document has no tokens.
REFUSED = (TokenStatus.UNSUPPORTED_SIGNATURE, TokenStatus.UNSUPPORTED_VALUE)


@cache
def configurations() -> list[tuple[dict[str, Any], EncoderConfig]]:
    return [(row, EncoderConfig.from_mapping(row["config"], f"seed {row['seed']}")) for row in goldens("synthetic")]


def request_of(case: dict[str, Any]) -> dict[str, Any]:
    tracks = case["score"]["tracks"]
    options = dict(case["options"])
    return {
        "tracks": range(len(tracks)),
        "bars": max((len(track["bars"]) for track in tracks), default=0),
        "fill": options.pop("multi_fill"),
        "mask": [(index, bar) for index, track in enumerate(tracks) for bar in track["masked"]],
        **options,
    }


def test_domains(golden: NoteGolden) -> None:
    wrong = [
        f"seed {row['seed']}"
        for row, config in configurations()
        if config.codebook.domains != [tuple(domain) for domain in row["domains"]]
        or config.codebook.vocab_size != row["vocab_size"]
    ]
    golden("synthetic", "vocabulary", "", len(configurations()), wrong)
    assert wrong == []


def test_serialised_form_reads_back() -> None:
    for row, config in configurations():
        stored = config.to_dict()
        again = EncoderConfig.from_mapping(stored)
        assert again.to_dict() == stored, row["seed"]
        assert again.codebook.domains == config.codebook.domains, row["seed"]


def test_tokens_and_spans(golden: NoteGolden) -> None:
    wrong: dict[str, list[str]] = {"tokens and spans": [], "refused": []}
    counts = dict.fromkeys(wrong, 0)
    for row, config in configurations():
        encoder = MidigptEncoder(config)
        for index, case in enumerate(row["cases"]):
            windows = windows_of([request_of(case)], compute_attributes=case["options"]["compute"])
            batch = encode(encoder, corpus_of(case["score"]), windows)
            status = TokenStatus(int(batch.status[0]))
            what = "refused" if "error" in case else "tokens and spans"
            counts[what] += 1
            if "error" in case:
                alike = status in REFUSED and len(batch.tokens) == 0
            else:
                alike = status == TokenStatus.OK and documents(batch) == [case["tokens"]]
                alike = alike and spans(batch) == [case["spans"]]
            if not alike:
                wrong[what].append(f"seed {row['seed']} case {index}: {status.name}")
    for what, rows in wrong.items():
        golden("synthetic", what, "", counts[what], rows)
    assert not any(wrong.values())


def test_decoding(golden: NoteGolden) -> None:
    wrong: dict[str, list[str]] = {"decoded": [], "damaged_decoded": []}
    counts = dict.fromkeys(wrong, 0)
    for row, config in configurations():
        encoder = MidigptEncoder(config)
        for index, case in enumerate(row["cases"]):
            for tokens, expected in (("tokens", "decoded"), ("damaged_tokens", "damaged_decoded")):
                if expected not in case:
                    continue
                counts[expected] += 1
                found = decoded(encoder, case[tokens])
                if plain(found) != plain(case[expected]):
                    wrong[expected].append(f"seed {row['seed']} case {index}")
    for what, rows in wrong.items():
        golden("synthetic", what.replace("_", " "), "", counts[what], rows)
    assert not any(wrong.values())


def decoded(encoder: MidigptEncoder, tokens: list[int]) -> dict[str, Any]:
    try:
        return encoder.decode(np.array(tokens, np.int32)).to_dict()
    except EncodingError as error:
        return {"error": str(error)}


def plain(content: dict[str, Any]) -> Any:
    """A score object with the bars of every track written out; errors all alike."""
    if "error" in content:
        return "error"
    tracks = [{**track, "bars": track.get("bars", content.get("bars")), "masked": []} for track in content["tracks"]]
    return content["resolution"], content["tempo"], tracks
