"""Packed documents stand as if each were alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midigpt_transformers import documents
from midigpt_transformers.boundaries import positions, spans
from torch import Tensor

from support.architectures import ARCHITECTURES, build_small

if TYPE_CHECKING:
    from midigpt_transformers.model import PackedModel

VOCABULARY = 97


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> PackedModel:
    module = build_small(request.param, vocab_size=VOCABULARY, max_seq_len=128, seed=11)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        for parameter in module.parameters():  # biases and norms start at 0 and 1, where mistakes hide
            torch.nn.init.normal_(parameter, std=0.3)
    return module


def tokens(*shape: int, seed: int = 5) -> Tensor:
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def row(lengths: list[int], padding: int = 0) -> Tensor:
    ids = [torch.full((length,), index, dtype=torch.int32) for index, length in enumerate(lengths)]
    return torch.cat([*ids, torch.full((padding,), -1, dtype=torch.int32)])


PACKED = torch.stack([row([20, 1, 13, 30]), row([40, 9], padding=15)])


def alone(model: PackedModel, input_ids: Tensor) -> list[Tensor]:
    """Logits of each document of PACKED, one forward pass per document."""
    return [
        model(input_ids[index, ids == document][None])[0]
        for index, ids in enumerate(PACKED)
        for document in range(int(ids.max()) + 1)
    ]


def test_packed_logits_are_those_of_the_documents_one_by_one(model: PackedModel) -> None:
    input_ids = tokens(*PACKED.shape)
    with torch.no_grad():
        packed = model(input_ids, document_ids=PACKED)
        torch.testing.assert_close(packed[PACKED >= 0], torch.cat(alone(model, input_ids)), atol=1e-5, rtol=0)
        plain = model(input_ids)
    assert (plain[0, 21:] - packed[0, 21:]).abs().max() > 0.1, "the documents of this test must differ when joined"


def test_packed_gradients_are_those_of_the_documents_one_by_one(model: PackedModel) -> None:
    input_ids = tokens(*PACKED.shape)
    weights = torch.randn(int((PACKED >= 0).sum()), VOCABULARY, generator=torch.Generator().manual_seed(2))
    parameters = list(model.parameters())
    packed = torch.autograd.grad((model(input_ids, document_ids=PACKED)[PACKED >= 0] * weights).sum(), parameters)
    single = torch.autograd.grad((torch.cat(alone(model, input_ids)) * weights).sum(), parameters)
    for ours, theirs in zip(packed, single, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=1e-4)


def test_a_document_is_bit_equal_whatever_its_neighbours_say(model: PackedModel) -> None:
    first, second = tokens(*PACKED.shape), tokens(*PACKED.shape, seed=6)
    second[0, 21:34] = first[0, 21:34]
    with torch.no_grad():
        before, after = model(first, document_ids=PACKED), model(second, document_ids=PACKED)
    assert torch.equal(before[0, 21:34], after[0, 21:34])
    assert not torch.equal(before[0, 34:], after[0, 34:])


def test_no_token_sees_a_later_one(model: PackedModel) -> None:
    first = tokens(1, 40)
    second = first.clone()
    second[0, 25:] = (second[0, 25:] + 1) % VOCABULARY
    with torch.no_grad():
        assert torch.equal(model(first)[:, :25], model(second)[:, :25])
        ids = row([40])[None]
        packed_first, packed_second = model(first, document_ids=ids), model(second, document_ids=ids)
    assert torch.equal(packed_first[:, :25], packed_second[:, :25])
    assert not torch.equal(packed_first[:, 25:], packed_second[:, 25:])


def test_padding_is_finite_and_changes_nothing(model: PackedModel) -> None:
    document_ids = torch.stack([row([10], padding=22), row([], padding=32)])
    input_ids = tokens(2, 32)
    logits = model(input_ids, document_ids=document_ids)
    assert torch.isfinite(logits).all()
    logits[0, :10].sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    model.zero_grad()
    with torch.no_grad():
        torch.testing.assert_close(logits[0, :10], model(input_ids[:1, :10])[0], atol=1e-5, rtol=0)


def test_the_mask_of_other_devices_gives_the_same_logits(model: PackedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    input_ids = tokens(*PACKED.shape)
    with torch.no_grad():
        expected = model(input_ids, document_ids=PACKED)
        monkeypatch.setattr(documents, "way", lambda _: "mask")
        torch.testing.assert_close(model(input_ids, document_ids=PACKED), expected, atol=1e-5, rtol=0)


def test_given_positions_are_used(model: PackedModel) -> None:
    input_ids = tokens(*PACKED.shape)
    with torch.no_grad():
        default = model(input_ids, document_ids=PACKED)
        given = model(input_ids, document_ids=PACKED, position_ids=positions(PACKED))
        shifted = model(input_ids, document_ids=PACKED, position_ids=positions(PACKED) + 1)
    assert torch.equal(default, given)
    assert not torch.equal(default, shifted)


def test_mixed_precision_runs_packed(model: PackedModel) -> None:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(tokens(*PACKED.shape), document_ids=PACKED)
    assert torch.isfinite(logits.float()).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(1, 6), max_size=4), st.integers(0, 4)), min_size=1, max_size=3))
def test_spans_positions_and_mask_agree_with_their_definitions(rows: list[tuple[list[int], int]]) -> None:
    length = max(1, *(sum(lengths) + padding for lengths, padding in rows))
    document_ids = torch.stack([row(lengths, padding=length - sum(lengths)) for lengths, _ in rows])
    mask = documents.attention_mask(document_ids)[:, 0]
    places = positions(document_ids)
    for r, ids in enumerate(document_ids.tolist()):
        for query, document in enumerate(ids):
            seen = [key for key in range(query + 1) if document >= 0 and ids[key] == document] or [query]
            assert mask[r, query].nonzero().flatten().tolist() == seen
            assert places[r, query] == query - seen[0]
    found = spans(document_ids)
    assert [span.start for span in found] == [0, *(span.end for span in found[:-1])]
    assert found[-1].end == document_ids.numel()
    flat_places = places.flatten().tolist()
    for span in found:
        expected = list(range(span.end - span.start)) if span.attends else [0] * (span.end - span.start)
        assert flat_places[span.start : span.end] == expected
