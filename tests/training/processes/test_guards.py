"""What stops a run before it harms the weights, and what is said when memory does not suffice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from midigpt_core.errors import TrainingError
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.planning.resume import step_files
from midigpt_core.training.processes.memory import explained_memory
from midigpt_core.training.run import train
from support.stopping import Run
from support.training import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.training import Configure


def at_step(patch: pytest.MonkeyPatch, step: int, act: Callable[[TrainingModule, torch.Tensor], torch.Tensor]) -> None:
    """Have ``act(module, loss)`` give the loss of every micro-batch after ``step`` steps."""
    original = TrainingModule.training_step

    def training_step(self: TrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = original(self, batch, batch_idx)
        return act(self, loss) if self.trainer.global_step == step else loss

    patch.setattr(TrainingModule, "training_step", training_step)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_touched(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    heads: list[tuple[torch.Tensor, torch.Tensor]] = []

    def spoil(module: TrainingModule, loss: torch.Tensor) -> torch.Tensor:
        head = module.model.lm_head.weight
        heads.append((head, head.detach().clone()))
        loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    at_step(monkeypatch, 3, spoil)
    config = configure(save_steps=2, accumulation=2, precision=precision)
    with pytest.raises(
        TrainingError, match=r"step 4: the gradient is not finite in 4 packed rows \(.*parquet, row.*; …\)"
    ):
        train(config, shard)
    after, before = heads[0]
    assert torch.equal(after, before)
    run_dir = Path(config.output_dir)
    assert [line["step"] for line in metrics(run_dir)] == [1, 2, 3]
    assert list(step_files(run_dir / "checkpoints")) == [2]


def test_memory_that_does_not_suffice_is_said_with_what_to_lower(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, 3, lambda module, loss: loss + torch.ones(1 << 60).sum())
    config = configure(save_steps=2, batch_size=6)
    with pytest.raises(TrainingError) as caught:
        train(config, shard)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("step 4: out of memory with 6 packed rows of 256 tokens a micro-batch (")
    assert said.endswith(
        "To need less: set batch_size to 3 and accumulation to 2, which gives the same steps, or lower max_seq_len,"
        " or set gradient_checkpointing to true. Resume from the last checkpoint."
    )
    assert list(step_files(Path(config.output_dir) / "checkpoints")) == [2]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()]
)
def test_every_kind_of_memory_is_recognised(configure: Configure, error: Exception) -> None:
    config = configure(batch_size=1, gradient_checkpointing=True)
    words = r"step 1: out of memory.*To need less: lower max_seq_len\. Resume"
    with pytest.raises(TrainingError, match=words), explained_memory(config, lambda: 0):
        raise error


def test_other_errors_stay_what_they_are(configure: Configure) -> None:
    with pytest.raises(RuntimeError, match="shapes do not fit"), explained_memory(configure(), lambda: 0):
        raise RuntimeError("shapes do not fit")


def test_every_rank_names_the_rows_of_the_rank_that_failed(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The loss is looked at row by row: what is not finite is what the model gave for them."""

    def spoil(self: TrainingModule, batch: Any) -> torch.Tensor:
        logits = self.model(batch["input_ids"], position_ids=batch["position_ids"], document_ids=batch["document_ids"])
        return logits * float("nan") if (self.global_rank, self.trainer.global_step) == (1, 2) else logits

    monkeypatch.setattr(TrainingModule, "forward", spoil)
    run = Run(configure(devices=2, strategy="ddp", batch_size=1), shard)
    assert run.ranks(2) == [2, 2]
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("Error: step 3")]
    assert len(errors) == 2
    assert errors[0] == errors[1]
    assert "the loss is not finite in 1 packed rows (" in errors[0]
    assert "train.parquet, row" in errors[0]


def test_a_loss_that_is_not_finite_names_the_file_among_many(
    configure: Configure, midi_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard of MIDI files holds many: its own name says the first of them alone."""

    def spoil(self: TrainingModule, batch: Any) -> torch.Tensor:
        logits = self.model(batch["input_ids"], position_ids=batch["position_ids"], document_ids=batch["document_ids"])
        return logits * float("nan")

    monkeypatch.setattr(TrainingModule, "forward", spoil)
    with pytest.raises(TrainingError, match=r"the loss is not finite") as caught:
        train(configure(max_steps=2, source="midifiles"), midi_files[0].parent)
    places = re.findall(r"more, row (\d+) \((\S+\.mid)\), bars", str(caught.value))
    assert places
    assert all(midi_files[int(row)].name == name for row, name in places)
