"""Checks for architectures, with a small vocabulary on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from midigpt_core.checkpoint import build_model
from midigpt_core.contracts import ArchitectureContext, Bundle
from midigpt_core.inference.forward_reader import ForwardReader
from midigpt_core.testing.general import process_registry

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from midigpt_core.contracts import SequenceReader
    from midigpt_core.records import Float32Array, Int32Array
    from midigpt_core.testing.general import Subject

VOCAB = 23
LENGTH = 12
_BATCH = 2


def check_logits_and_loss(subject: Subject) -> None:
    model, tokens = _model_and_tokens(subject)
    logits = model(tokens)
    assert logits.shape == (_BATCH, LENGTH, VOCAB), f"logits of shape {tuple(logits.shape)}"
    loss = cross_entropy(logits.flatten(0, 1), tokens.flatten())
    assert torch.isfinite(loss), "the loss is not finite"
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    unused = [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    assert not unused, f"no gradient reaches {', '.join(unused)}"


def check_a_token_does_not_see_the_future(subject: Subject) -> None:
    model, tokens = _model_and_tokens(subject)
    changed = tokens.clone()
    changed[:, LENGTH // 2 :] = (changed[:, LENGTH // 2 :] + 1) % VOCAB
    with torch.no_grad():
        before, after = model(tokens)[:, : LENGTH // 2], model(changed)[:, : LENGTH // 2]
    assert torch.equal(before, after), "a later token changes earlier logits"


def check_packed_documents_do_not_see_one_another(subject: Subject) -> None:
    model, tokens = _model_and_tokens(subject)
    first, padding = LENGTH // 3, 2
    positions = torch.cat([torch.arange(first), torch.arange(LENGTH - first - padding), torch.zeros(padding)])
    documents = torch.cat([torch.zeros(first), torch.ones(LENGTH - first - padding), -torch.ones(padding)])
    packed = {
        "position_ids": positions.long().expand(_BATCH, -1),
        "document_ids": documents.int().expand(_BATCH, -1),
    }
    changed = tokens.clone()
    changed[:, :first] = (changed[:, :first] + 1) % VOCAB
    with torch.no_grad():
        together, other_neighbour = model(tokens, **packed), model(changed, **packed)
        alone = model(tokens[:, first : LENGTH - padding])
    second = slice(first, LENGTH - padding)
    assert torch.isfinite(together).all(), "padding makes logits that are not finite"
    assert torch.equal(together[:, second], other_neighbour[:, second]), (
        "a document sees its neighbour in the packed row"
    )
    assert torch.allclose(together[:, second], alone, atol=1e-4), "a packed document differs from the document alone"


def check_gradient_checkpointing_changes_no_gradient(subject: Subject) -> None:
    if "gradient_checkpointing" not in subject.spec.provides:
        return
    gradients = []
    for checkpointing in (False, True):
        model, tokens = _model_and_tokens(subject)
        if checkpointing:
            model.enable_gradient_checkpointing()
        loss = cross_entropy(model.train()(tokens).flatten(0, 1), tokens.flatten())
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    same = all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert same, "gradients differ with gradient checkpointing"


def check_reading_piece_by_piece_is_reading_at_once(subject: Subject) -> None:
    """Reading as in generation: with the architecture's own reader if it has one, else with its forward pass."""
    model, tokens = _model_and_tokens(subject)
    model = model.eval()
    with torch.no_grad():
        expected = model(tokens).numpy()
    ids = tokens.numpy().astype(np.int32)
    make = getattr(model, "reader", None)
    reader: SequenceReader = (None if make is None else make("float32")) or ForwardReader(model)
    sequences = reader.open(_BATCH, LENGTH)
    logits = np.zeros((_BATCH, VOCAB), np.float32)
    half = LENGTH // 2
    steps = [(0, half), *((at, at + 1) for at in range(half, LENGTH))]
    for first, end in steps:
        positions = np.tile(np.arange(first, end, dtype=np.int32), _BATCH)
        offsets = np.arange(_BATCH + 1, dtype=np.int64) * (end - first)
        sequences.step(ids[:, first:end].reshape(-1), positions, offsets, logits)
        assert np.allclose(logits, expected[:, end - 1], atol=1e-4), f"logits differ from forward's after {end} tokens"
        if first == 0:
            sequences = sequences.fork(np.arange(_BATCH))


def check_positions_are_taken_as_they_are_given(subject: Subject) -> None:
    """If the architecture provides ``placeholder_positions``, positions may decrease and repeat."""
    if "placeholder_positions" not in subject.spec.provides:
        return
    model, tokens = _model_and_tokens(subject)
    model = model.eval()
    block = slice(LENGTH // 2, LENGTH - 1)
    positions = torch.arange(LENGTH)
    positions[block] = torch.arange(1, 1 + block.stop - block.start)
    given = positions.expand(_BATCH, -1)
    with torch.no_grad():
        expected, in_sequence = model(tokens, position_ids=given), model(tokens)
        packed = model(tokens, position_ids=given, document_ids=torch.zeros(_BATCH, LENGTH, dtype=torch.int32))
    assert not torch.allclose(expected[:, block], in_sequence[:, block], atol=1e-5), "position_ids make no difference"
    assert torch.allclose(packed, expected, atol=1e-4), "a packed document differs from the document alone"
    assert torch.equal(expected[:, : block.start], in_sequence[:, : block.start]), "a token sees later positions"
    read = _read_at(model, tokens, positions.numpy().astype(np.int32))
    assert np.allclose(read, expected[:, -1].numpy(), atol=1e-4), "reading piece by piece gives different logits"


def _read_at(model: Any, tokens: Tensor, positions: Int32Array) -> Float32Array:
    """The logits float32[B, V] after all tokens int64[B, L], half of them at once and the others one by one."""
    make = getattr(model, "reader", None)
    reader: SequenceReader = (None if make is None else make("float32")) or ForwardReader(model)
    sequences = reader.open(_BATCH, LENGTH)
    logits = np.zeros((_BATCH, VOCAB), np.float32)
    ids = tokens.numpy().astype(np.int32)
    for first, end in [(0, LENGTH // 2), *((at, at + 1) for at in range(LENGTH // 2, LENGTH))]:
        offsets = np.arange(_BATCH + 1, dtype=np.int64) * (end - first)
        sequences.step(ids[:, first:end].reshape(-1), np.tile(positions[first:end], _BATCH), offsets, logits)
    return logits


def check_its_configuration_builds_the_same_model(subject: Subject) -> None:
    """A bundle stores ``architecture_config()`` and the weights; the model is rebuilt from them."""
    model, tokens = _model_and_tokens(subject)
    with process_registry(subject.registry):
        again = build_model(_bundle(subject, model))
    with torch.no_grad():
        assert torch.equal(model.eval()(tokens), again(tokens)), (
            "the model built from the bundle gives different logits"
        )


def _model_and_tokens(subject: Subject) -> tuple[Any, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = subject.build(ArchitectureContext(vocab_size=VOCAB, max_seq_len=LENGTH))
        return model, torch.randint(VOCAB, (_BATCH, LENGTH))


def _bundle(subject: Subject, model: Any) -> Bundle:
    return Bundle(
        architecture=f"{subject.ref.plugin}/{subject.ref.name}",
        architecture_config=model.architecture_config(),
        encoder="none",
        encoder_config={},
        state_dict=model.state_dict(),
    )
