"""Each check of the kit fails for a plugin that breaks its promise: the examples, each with one change."""

from __future__ import annotations

import re
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from midigpt_core.kinds import Kind
from midigpt_core.testing import checks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

#: By kind and check: what is replaced in the example, by what, and the checks that cannot but fail with it.
BROKEN: dict[tuple[Kind, str], tuple[str, str, tuple[str, ...]]] = {
    (Kind.SOURCE, "shards-are-stable"): (
        "hexdigest()",
        "hexdigest() + str(self.__dict__.setdefault('number', next(COUNT)))",
        (),
    ),
    (Kind.SOURCE, "every-row-is-accounted-for"): ("return len(self.files)", "return len(self.files) + 1", ()),
    (Kind.SOURCE, "batches-have-the-right-columns"): ("pa.large_binary()", "pa.binary()", ()),
    (Kind.SOURCE, "reading-again-gives-the-same"): (
        "file.read_bytes() for",
        "file.read_bytes() + bytes(self.__dict__.update(reads=self.__dict__.get('reads', 0) + 1) or self.reads) for",
        (),
    ),
    (Kind.SOURCE, "shards-can-be-sent-to-another-process"): (
        "self.hash_file = hash_file",
        "self.hash_file = lambda file: hash_file(file)",
        (),
    ),
    (Kind.SOURCE, "a-path-that-leads-nowhere-is-refused"): ("if not Path(path).is_dir():", "if False:", ()),
    (Kind.MASK, "masks-only-valid-bars-outside-the-infill"): ("chosen & valid & ~infill", "chosen & valid", ()),
    (Kind.MASK, "equal-keys-mask-equal-bars"): (
        "chosen & valid & ~infill",
        "chosen & valid & ~infill & (np.arange(len(keys)) == 0)[:, None, None]",
        (),
    ),
    (Kind.MASK, "leaves-its-arguments-alone"): (
        "return chosen & valid & ~infill",
        "return np.logical_and(chosen & ~infill, valid, out=valid)",
        (),
    ),
    (Kind.MASK, "takes-an-empty-batch"): ("return chosen", "return (keys[0] >= 0) & chosen", ()),
    (Kind.ARCHITECTURE, "logits-and-loss"): (
        "        self.head = ",
        "        self.unused = nn.Parameter(torch.zeros(1))\n        self.head = ",
        (),
    ),
    # What a token sees of the future is not there yet when a document is read piece by piece.
    (Kind.ARCHITECTURE, "a-token-does-not-see-the-future"): (
        "(order[:, None] >= order)",
        "(order[:, None] + 1 >= order)",
        ("reading-piece-by-piece-is-reading-at-once",),
    ),
    (Kind.ARCHITECTURE, "packed-documents-do-not-see-one-another"): (
        "& (document_ids[:, :, None] == document_ids[:, None, :])",
        "& (document_ids[:, :, None] < 99)",
        (),
    ),
    (Kind.ARCHITECTURE, "gradient-checkpointing-changes-no-gradient"): (
        "    def architecture_config",
        "    def enable_gradient_checkpointing(self):\n        self.position.weight.data += 1\n\n"
        "    def architecture_config",
        (),
    ),
    (Kind.ARCHITECTURE, "reading-piece-by-piece-is-reading-at-once"): (
        "    def architecture_config",
        "    def reader(self, precision):\n        import copy\n"
        "        from midigpt_core.inference.forward_reader import ForwardReader\n"
        "        other = copy.deepcopy(self)\n        other.head.bias.data += 1\n"
        "        return ForwardReader(other)\n\n"
        "    def architecture_config",
        (),
    ),
    (Kind.ARCHITECTURE, "positions-are-taken-as-they-are-given"): (
        "self.position(position_ids)",
        "self.position(order.expand_as(input_ids) if document_ids.sum() == 0 else position_ids)",
        (),
    ),
    (Kind.ARCHITECTURE, "its-configuration-builds-the-same-model"): (
        "sizes | attrs.asdict(self.options)",
        "sizes | {'heads': 1}",
        (),
    ),
    (Kind.LOGGER, "takes-metrics-and-closes"): (
        'stream.writelines(f"{step} {name} {value}\\n" for name, value in metrics.items())',
        'stream.write(metrics["eval_loss"])',
        (),
    ),
    (Kind.CHECKPOINT_FORMAT, "a-bundle-comes-back-bit-by-bit"): ("tensor.numpy()", "tensor.numpy() * 2", ()),
    (Kind.CHECKPOINT_FORMAT, "the-header-alone-is-the-same"): (
        "BundleHeader(**self._header(archive))",
        "BundleHeader(**{**self._header(archive), 'encoder': 'another'})",
        (),
    ),
    (Kind.CHECKPOINT_FORMAT, "its-header-reader-agrees-and-needs-no-torch"): ("", "", ()),
    (Kind.CHECKPOINT_FORMAT, "a-damaged-file-is-refused"): (
        "except (zipfile.BadZipFile, OSError) as error:",
        "except ZeroDivisionError as error:",
        (),
    ),
    (Kind.OPTIMIZER, "every-trained-weight-is-stepped-and-no-frozen-one"): (
        "if weight.grad is None:",
        "if weight.grad is None or weight.ndim == 1:",
        (),
    ),
    (Kind.OPTIMIZER, "a-rate-of-zero-changes-nothing"): ('alpha=group["lr"]', "alpha=0.003", ()),
    (Kind.OPTIMIZER, "the-loss-falls"): ('alpha=group["lr"]', 'alpha=-group["lr"]', ()),
    (Kind.OPTIMIZER, "it-goes-on-as-if-it-had-not-been-stopped"): (
        "self.state[weight]",
        "self.__dict__.setdefault('kept', {}).setdefault(weight, {})",
        (),
    ),
    (Kind.OPTIMIZER, "it-draws-from-no-global-generator"): (
        "state = self.state[weight]",
        "state = self.state[weight]\n                torch.rand(1)",
        (),
    ),
    # The same music is measured without a corpus.
    (Kind.METRIC, "figures-are-sound"): (
        "value=empty",
        "value=empty + 2 * (empty < 1)",
        ("does-without-a-training-corpus",),
    ),
    (Kind.METRIC, "equal-music-gives-equal-figures"): ("value=empty", "value=(empty + 1) / (1 + next(COUNT))", ()),
    (Kind.METRIC, "measures-silence"): (
        "value=empty",
        "value=empty if empty < 1 else float('nan')",
        (),
    ),
    (Kind.METRIC, "measures-nothing"): ("        if not bars:\n            return {}\n", "", ()),
    (Kind.METRIC, "does-without-a-training-corpus"): (
        "return EmptyBars(options.most_notes)",
        "return context.training_bars.contains and EmptyBars(options.most_notes)",
        (),
    ),
    (Kind.METRIC, "leaves-the-music-alone"): (
        '        return {"": ',
        '        music.cells[:] = False\n        return {"": ',
        (),
    ),
    (Kind.ATTRIBUTE, "levels-are-sound"): ("return levels(", "return 10 * HIGH(notes) + levels(", ()),
    (Kind.ATTRIBUTE, "takes-silence"): (
        "    bars = ",
        "    assert len(pitch) or not notes.shape[0]\n    bars = ",
        (),
    ),
    (Kind.ATTRIBUTE, "takes-an-empty-batch"): ("    bars = ", "    assert notes.shape[0]\n    bars = ", ()),
    (Kind.ATTRIBUTE, "other-windows-do-not-matter"): (
        "return levels(",
        "return (notes.shape[0] == 3) + 0 * levels(",
        (),
    ),
    (Kind.ATTRIBUTE, "equal-notes-give-equal-levels"): ("return levels(", "return SEEN(notes) + 0 * levels(", ()),
    (Kind.ATTRIBUTE, "leaves-the-notes-alone"): ("return levels(", "notes.pitch[:] = 0\n    return levels(", ()),
    (Kind.ATTRIBUTE, "its-tokens-follow-the-vocabulary"): (
        "    bars = ",
        "    assert notes.shape[2] != 4 or not notes.shape[0]\n    bars = ",
        (),
    ),
    # Merging cannot know what became of the base.
    (Kind.ADAPTER, "only-its-own-weights-are-trained"): (
        "        return self.layer(x) *",
        "        self.layer.weight.data *= 1.01 if self.training else 1\n        return self.layer(x) *",
        ("a-file-has-all-that-merging-needs",),
    ),
    (Kind.ADAPTER, "merged-weights-compute-the-same"): (
        "factor = 1 + options.strength",
        "factor = 1 + 2 * options.strength",
        (),
    ),
    (Kind.ADAPTER, "a-file-has-all-that-merging-needs"): (
        "    merged = {}\n",
        "    merged = {}\n    times = 2 - next(COUNT) % 2\n"
        "    adapter = {name: times * gain for name, gain in adapter.items()}\n",
        (),
    ),
    (Kind.ADAPTER, "it-goes-on-as-if-it-had-not-been-stopped"): (
        "        return self.layer(x) *",
        "        self.steps = getattr(self, 'steps', 0) + self.training\n"
        "        return self.layer(x) * (1 + 0.1 * self.steps * self.training) *",
        (),
    ),
    (Kind.ADAPTER, "equal-seeds-give-equal-weights"): (
        "else (1, layer.nf)))",
        "else (1, layer.nf)) + next(COUNT) / 1000)",
        (),
    ),
    (Kind.ADAPTER, "tensors-of-another-model-are-refused"): (
        "        if weight is None or gain.numel() not in weight.shape:\n            raise ",
        "        if weight is None:\n            continue\n"
        "        if gain.numel() not in weight.shape:\n            raise ",
        (),
    ),
    (Kind.ADAPTER, "fits-a-model-of-fake-tensors"): (
        "        is_linear = ",
        "        layer.weight.detach().sum().item()\n        is_linear = ",
        (),
    ),
}
#: What a few of the changes use, at the top of the example's module.
HELPERS = """
import itertools

COUNT = itertools.count(1)


def HIGH(notes):
    return int(notes.pitch.max(initial=0) > HIGHEST)


def SEEN(notes, seen=[]):
    if notes.pitch.min(initial=127) < LOWEST:
        seen.append(1)
    return len(seen) % 2
"""
#: What goes into the record of a component.
RECORDS = {
    "gradient-checkpointing-changes-no-gradient": 'provides={"gradient_checkpointing"}, ',
    "positions-are-taken-as-they-are-given": 'provides={"placeholder_positions"}, ',
    "its-header-reader-agrees-and-needs-no-torch": 'headers="midigpt_plugin_arrays.checkpoint_format:build", ',
}


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Kind, str], set[str]]]:
    """The checks of a kind that its example fails with the change for a check."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    # The example's modules, also those that other tests imported, are not these.
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("midigpt_plugin_")}

    def run(kind: Kind, check: str) -> set[str]:
        (package,) = (EXAMPLES / kind).glob("midigpt_plugin_*")
        copied = shutil.copytree(package, tmp_path / package.name)
        shutil.copy(EXAMPLES / kind / "pyproject.toml", tmp_path)
        (module,) = [path for path in copied.glob("*.py") if path.stem not in ("__init__", "plugin")]
        old, new, _ = BROKEN[kind, check]
        text = module.read_text(encoding="utf-8")
        assert old in text
        from_import = next(iter(re.findall(r"^(?:import|from) .+$", text, re.M)))
        highest, lowest = limits()
        helpers = HELPERS.replace("HIGHEST", str(highest)).replace("LOWEST", str(lowest))
        module.write_text(text.replace(old, new).replace(from_import, f"{helpers}\n{from_import}", 1))
        plugin = copied / "plugin.py"
        record = RECORDS.get(check, "")
        plugin.write_text(plugin.read_text(encoding="utf-8").replace("Spec(\n", f"Spec(\n            {record}", 1))
        name = package.name.removeprefix("midigpt_plugin_").replace("_", "-")
        failed = set()
        for one in checks_of(name, plugin_dirs=[str(tmp_path)]):
            prefix = f"{kind}-{name}-"
            if not one.id.startswith(prefix):
                continue
            try:
                one()
            except Exception:  # noqa: BLE001 (whatever the broken component raises is the finding)
                failed.add(one.id.removeprefix(prefix))
        return failed

    yield run
    for name in [name for name in sys.modules if name.startswith("midigpt_plugin_")]:
        del sys.modules[name]
    sys.modules |= before


def limits() -> tuple[int, int]:
    """The highest pitch of the kit's pieces, and the lowest of its melodic tracks less 1."""
    music = import_module("midigpt_core.testing.music")
    pitches = [
        int(pitch)
        for score in music.scores()
        for track in score.tracks
        for bar in track.bars
        for pitch in bar.notes.pitch
    ]
    return max(pitches), min(pitches)


@pytest.mark.parametrize(("kind", "check"), BROKEN)
def test_what_is_broken_is_found(failing: Callable[[Kind, str], set[str]], kind: Kind, check: str) -> None:
    assert failing(kind, check) == {check, *BROKEN[kind, check][2]}


def test_every_check_of_every_kind_is_broken_here_or_in_the_tests_of_the_kit() -> None:
    for kind in Kind:
        module = import_module(f"midigpt_core.testing.{kind.setting}s")
        names = [name.removeprefix("check_").replace("_", "-") for name in vars(module) if name.startswith("check_")]
        assert names
        if kind is not Kind.ENCODER:  # tests/testing/test_kit.py
            assert sorted(names) == sorted(check for of, check in BROKEN if of is kind)
