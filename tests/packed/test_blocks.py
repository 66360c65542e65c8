"""Attention in blocks, as GPUs compute it, is the attention within documents that CPUs compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midigpt_transformers import blocks, documents
from midigpt_transformers.blocks import BLOCK, are_computed_on, attend_in_blocks, document_blocks
from midigpt_transformers.boundaries import positions
from torch._dynamo.testing import CompileCounter
from torch.nn.attention import flex_attention

from support.architectures import ARCHITECTURES, build_small

if TYPE_CHECKING:
    from torch import Tensor

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def packed(*rows: list[int], length: int) -> Tensor:
    """``document_ids`` of rows whose documents have these lengths; the rest is padding."""
    ids = torch.full((len(rows), length), -1, dtype=torch.int32)
    for row, lengths in zip(ids, rows, strict=True):
        row[: sum(lengths)] = torch.repeat_interleave(
            torch.arange(len(lengths), dtype=torch.int32), torch.tensor(lengths, dtype=torch.int64)
        )
    return ids


ROWS = packed([100, 1, 150, 20], [7, 290, 3], [300], [], length=300)


def heads(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 2, 300, 16, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_gives_the_logits_and_gradients_of_documents_one_by_one(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PyTorch refuses gradients here because its fast kernel has none for CPUs; the plain one does.
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)
    model = build_small(architecture, vocab_size=97, max_seq_len=300, seed=11)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    input_ids = torch.randint(0, 97, ROWS.shape, generator=torch.Generator().manual_seed(5))
    weights = torch.randn(int((ROWS >= 0).sum()), 97, generator=torch.Generator().manual_seed(2))
    parameters = list(model.parameters())

    one_by_one = model(input_ids, document_ids=ROWS)[ROWS >= 0]
    expected = torch.autograd.grad((one_by_one * weights).sum(), parameters)
    with monkeypatch.context() as patch:
        patch.setattr(documents, "way", lambda _: "blocks")
        in_blocks = model(input_ids, document_ids=ROWS)[ROWS >= 0]
    torch.testing.assert_close(in_blocks, one_by_one, atol=1e-5, rtol=1e-5)
    found = torch.autograd.grad((in_blocks * weights).sum(), parameters)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 300), max_size=6), min_size=1, max_size=3),
    st.integers(0, 200),
)
def test_blocks_are_those_that_the_mask_needs(rows: list[list[int]], spare: int) -> None:
    length = max(map(sum, rows)) + spare or 1
    ids = packed(*rows, length=length)
    found_blocks = document_blocks(ids)
    count = -(-length // BLOCK)
    mask = torch.zeros(len(rows), count * BLOCK, count * BLOCK, dtype=torch.bool)
    mask[:, :length, :length] = documents.attention_mask(ids)[:, 0]
    # Tokens beyond the packed row belong to no document: they must not prevent a complete attention block.
    inside = torch.zeros_like(mask)
    inside[:, :length, :length] = True
    tiles = [part.view(len(rows), count, BLOCK, count, BLOCK).transpose(2, 3) for part in (mask, mask | ~inside)]
    some, all_ = tiles[0].any(dim=(3, 4)), tiles[1].all(dim=(3, 4)) & tiles[0].any(dim=(3, 4))

    def listed(counts: Tensor | None, order: Tensor | None) -> Tensor:
        assert counts is not None
        assert order is not None
        found = torch.zeros(len(rows), count, count, dtype=torch.bool)
        for row in range(len(rows)):
            for block in range(count):
                found[row, block, order[row, 0, block, : counts[row, 0, block]].long()] = True
        return found

    partial = listed(found_blocks.kv_num_blocks, found_blocks.kv_indices)
    whole = listed(found_blocks.full_kv_num_blocks, found_blocks.full_kv_indices)
    assert torch.equal(partial | whole, some)
    assert not (partial & whole).any()
    assert not (whole & ~all_).any(), "no look at single tokens, where some must not be seen"
    # The diagonal is causal; everything else that is seen whole is known to be.
    assert torch.equal(whole, all_ & ~torch.eye(count, dtype=torch.bool))
    row, query, key = (torch.randint(0, high, (50,)) for high in (len(rows), length, length))
    assert torch.equal(found_blocks.mask_mod(row, row, query, key), mask[row, query, key])


def test_compiled_once_for_all_boundaries() -> None:
    counter = CompileCounter()

    @torch.compile(backend=counter, fullgraph=True)
    def attend(query: Tensor, key: Tensor, value: Tensor, document_ids: Tensor) -> Tensor:
        return attend_in_blocks(query, key, value, document_blocks(document_ids), 0.25)

    for seed, ids in enumerate((ROWS, ROWS.flip(0), packed([300], [300], [150, 150], [], length=300))):
        tensors = heads(seed)
        expected = torch.nn.functional.scaled_dot_product_attention(
            *tensors, attn_mask=documents.attention_mask(ids), scale=0.25
        )
        torch.testing.assert_close(attend(*tensors, ids), expected.transpose(1, 2), atol=1e-5, rtol=1e-5)
    assert counter.frame_count == 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_model_is_compiled_whole_and_once(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "way", lambda device: "mask" if documents.are_computed_on(device) else "blocks")
    model = build_small(architecture, vocab_size=97, max_seq_len=300, n_layer=1)
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    input_ids = torch.zeros(ROWS.shape, dtype=torch.int64)
    with torch.no_grad():
        for ids in (ROWS, ROWS.flip(0)):
            torch.testing.assert_close(compiled(input_ids, document_ids=ids), model(input_ids, document_ids=ids))
    assert counter.frame_count == 1


def test_a_device_without_the_kernel_is_known() -> None:
    assert not are_computed_on(torch.device("cpu"))
    assert not are_computed_on(torch.device("meta"))


def test_a_device_where_the_kernel_cannot_be_built_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_device: torch.device) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify one.")

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(blocks.importlib.util, "find_spec", lambda _: True)
    device = torch.device("cuda", 0)
    monkeypatch.setattr(blocks, "_attend_once", lambda _: None)
    assert are_computed_on.__wrapped__(device)
    monkeypatch.setattr(blocks, "_attend_once", fail)
    assert not are_computed_on.__wrapped__(device)
    assert "cuda:0 (Failed to find C compiler.): packed rows use a mask" in caplog.text


def test_the_kernel_is_tried_with_gradients_whoever_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation, say, which has none: it must not be what decides for the training after it."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            blocks._attend_once(torch.device("cpu"))


def test_boundaries_of_padding() -> None:
    assert positions(packed([2, 1], length=5)).tolist() == [[0, 1, 0, 0, 0]]
