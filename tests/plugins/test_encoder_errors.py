"""A plugin's encoder that fails, in training and in generation: one line that names plugin, component and method."""

from __future__ import annotations

import copy
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from midigpt_server.app import build_app
from midigpt_server.models import Model, Models
from midigpt_server.settings import ModelSettings, ServerSettings

from midigpt_core.cli import main
from midigpt_core.errors import ComponentError
from midigpt_core.inference.guarded import guarded
from midigpt_core.plugins import Selection, load_registry
from midigpt_core.records import GrammarRequest, TokenBatch
from midigpt_core.testing import music
from midigpt_core.testing.general import process_registry
from support.serving import body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "encoder"

PLUGIN = """
from midigpt_core import hookimpl
from midigpt_core.components import EncoderSpec

MIDIGPT_API = 1

@hookimpl
def midigpt_encoders():
    return [EncoderSpec(name="shaky", summary="x", target="shakypart:build", options="shakypart:Options")]
"""
#: The example's encoder, and what goes wrong in it: a method that replaces one of its own or of its grammar.
PART = """
import numpy as np
from midigpt_core.encoding.token_grammar import TableGrammar
from midigpt_plugin_sixteenths.encoder import Encoder as Sound, GRAMMAR, Options

class Grammar(TableGrammar):
    {grammar}

class Encoder(Sound):
    def grammar(self):
        return Grammar(GRAMMAR, self.vocabulary)
    {encoder}

def build(options, context):
    return Encoder(options)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Songs, the plugin, and a bundle that was trained with its sound encoder."""
    folder = tmp_path_factory.mktemp("shaky")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("MIDIGPT_CACHE", str(folder / "cache"))
        for number, score in enumerate(music.scores()):
            score.to_midi(folder / "songs" / f"{number}.mid")
        (folder / "plugins").mkdir()
        (folder / "plugins" / "shaky.py").write_text(PLUGIN)
        tiny = {"n_embd": 16, "n_layer": 1, "n_head": 1, "n_positions": 1024, "max_seq_len": 1024, "batch_size": 2}
        steps = {"max_steps": 2, "warmup_steps": 1, "source": "midifiles", "encoder": "shaky"}
        (folder / "tiny.json").write_text(json.dumps(tiny | steps))
        write_part(folder)
        assert run(folder, *train_flags(folder, "run")) == 0
        yield folder
    forget()


def write_part(folder: Path, encoder: str = "", grammar: str = "") -> None:
    (folder / "plugins" / "shakypart.py").write_text(PART.format(encoder=encoder or "pass", grammar=grammar or "pass"))
    forget()


def forget() -> None:
    for name in ("shaky", "shakypart"):
        sys.modules.pop(name, None)


def train_flags(folder: Path, name: str) -> list[str]:
    return [
        "train", "--config", str(folder / "tiny.json"), "--train-data", str(folder / "songs"),
        "--output-dir", str(folder / name),
    ]  # fmt: skip


def run(folder: Path, *command: str) -> int:
    return main(["--plugins-dir", str(folder / "plugins"), "--plugins-dir", str(EXAMPLE), *command])


@pytest.fixture
def generate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def generate(*flags: str, encoder: str = "", grammar: str = "") -> int:
        write_part(folder, encoder, grammar)
        asked = ["--checkpoint", str(folder / "run" / "model_final.pt"), "--input", str(folder / "songs" / "0.mid")]
        asked += ["--track", "0", "--bars", "2-3", "--seed", "1", "--overwrite", "-o", str(folder / "out")]
        return run(folder, "generate", *asked, *flags)

    return generate


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line]


def test_the_sound_one_generates(generate: Callable[..., int]) -> None:
    assert generate() == 0
    assert generate("--autoregressive") == 0


@pytest.mark.parametrize(
    ("flags", "control"),
    [(("--scale", "D dorian"), "pitch_mask"), (("--rhythm", "eighth"), "rhythm_mask"), (("--remix", "0.5"), "remix")],
)
def test_controls_of_notes_need_another_grammar(
    generate: Callable[..., int], capsys: pytest.CaptureFixture[str], flags: tuple[str, str], control: str
) -> None:
    assert generate(*flags) == 2
    (line,) = lines_of(capsys)
    assert f"controls.{control} is not supported. The encoder's grammar cannot" in line
    assert line.endswith("Leave it out.")


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({"encoder": "def encode_window(self, *_): return 1 / 0"}, "(encode_batch, in generation): ZeroDivisionError:"),
        (
            {"encoder": "def encode_batch(self, *_): return None"},
            "(encode_batch, in generation): ValueError: it returned",
        ),
        ({"encoder": "def decode(self, tokens): return {}['x']"}, "(decode, in generation): KeyError: 'x'"),
        (
            {"encoder": "def decode(self, tokens): return tokens"},
            "(decode, in generation): ValueError: it returned a nd",
        ),
        ({"encoder": "def grammar(self): return self.missing"}, "(grammar, in generation): AttributeError:"),
        ({"grammar": "def start(self, *_): return 1 / 0"}, "(grammar: start, in generation): ZeroDivisionError:"),
        (
            {"grammar": "def mask(self, out): raise IndexError('a\\nb')"},
            "(grammar: mask, in generation): IndexError: a b.",
        ),
        (
            {"grammar": "def mask(self, out): out[:] = False"},
            "(grammar: mask, in generation): ValueError: no token may",
        ),
        ({"grammar": "def advance(self, tokens): return tokens[9]"}, "(grammar: advance, in generation): IndexError:"),
        ({"grammar": "def document(self, index): return 1 / 0"}, "(grammar: document, in generation): ZeroDivision"),
        (
            {"grammar": "def finished(self): return True"},
            "(grammar: finished, in generation): ValueError: it has shape",
        ),
        (
            {"grammar": "def take(self): return np.array([999], np.int32), np.zeros(1, np.int32), np.array([0, 1])"},
            "(grammar: take, in generation): ValueError: token id 999 is outside the vocabulary of",
        ),
        (
            {"grammar": "def take(self): return np.array([1.5]), np.zeros(1, np.int32), np.array([0, 1])"},
            "(grammar: take, in generation): ValueError: it returned tokens float64[1], not a one-dimensional array of",
        ),
        (
            {"grammar": "def take(self): return None"},
            "(grammar: take, in generation): ValueError: it returned a NoneType, not tokens, positions and offsets",
        ),
        (
            {"grammar": "def take(self): return np.zeros(1, np.int32), np.full(1, -1, np.int32), np.array([0, 1])"},
            "(grammar: take, in generation): ValueError: it returned position -1",
        ),
        (
            {"grammar": "def document(self, index): return super().document(index).tolist()"},
            "(grammar: document, in generation): ValueError: it returned a list, not a one-dimensional array of int32",
        ),
        (
            {"grammar": "def bars_written(self): return np.zeros(3)"},
            "(grammar: bars_written, in generation): ValueError: it returned float64[3], not int32[N]",
        ),
    ],
)
def test_a_fault_in_generation(
    generate: Callable[..., int], capsys: pytest.CaptureFixture[str], fault: dict[str, str], problem: str
) -> None:
    assert generate(**fault) == 2
    (line,) = lines_of(capsys)
    assert line.startswith("Error: encoder 'shaky' of ")
    assert problem in line
    assert line.endswith("This is a bug of the plugin; --traceback shows where it happened.")


@pytest.mark.parametrize(
    "endless",
    [
        # Whatever is chosen, it goes on.
        """
    def start(self, batch, request):
        self.number, self.first = len(batch), np.asarray(batch.tokens[: batch.offsets[1]])
        self.fresh = self.first
    def take(self):
        fresh, self.fresh = self.fresh, np.zeros(1, np.int32)
        total = np.arange(self.number + 1) * len(fresh)
        return np.tile(fresh, self.number), np.zeros(total[-1], np.int32), total
    def mask(self, out): out[:] = True
    def advance(self, tokens): pass
    def finished(self): return np.zeros(self.number, bool)
    def bars_written(self): return np.zeros(self.number, np.int32)
    def document(self, index): return self.first
""",
        # It hands out nothing, and goes on.
        """
    def advance(self, tokens): pass
    def finished(self): return np.zeros(1, bool)
    def mask(self, out): out[:] = True
""",
    ],
)
def test_generation_is_bounded_whatever_a_grammar_says(
    generate: Callable[..., int], capsys: pytest.CaptureFixture[str], endless: str
) -> None:
    assert generate(grammar=endless.strip()) == 2
    (line,) = lines_of(capsys)
    assert "encoder 'shaky' of " in line
    assert "(grammar: take, in generation): ValueError: it does not finish document 0 within max_tokens" in line
    assert "which is 1024" in line


def test_the_traceback_is_shown_on_request(generate: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--traceback", encoder="def decode(self, tokens): return 1 / 0") == 2
    lines = lines_of(capsys)
    assert any("shakypart.py" in line for line in lines)
    assert lines[-1].startswith("Error: encoder 'shaky' of ")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_fault_in_training(folder: Path, capsys: pytest.CaptureFixture[str], workers: str) -> None:
    write_part(folder, encoder="def encode_window(self, *_): return 1 / 0")
    assert run(folder, *train_flags(folder, "fails"), "--set", f"num_workers={workers}") == 2
    *_, line = lines_of(capsys)
    assert line.startswith("Error: encoder 'shaky' of ")
    assert "0.mid" in line or "1.mid" in line
    assert "ZeroDivisionError" in line


def test_training_without_a_grammar_warns_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_part(folder, encoder="def grammar(self): return None")
    assert run(folder, *train_flags(folder, "mute")) == 0
    warnings = [record.getMessage() for record in caplog.records if "grammar" in record.getMessage()]
    assert warnings == [
        "encoder 'shaky' has no grammar: the model will be trained, but cannot generate (docs/plugins/grammars.md)."
    ]


def test_decode_and_encode_name_the_component(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(folder / "run" / "model_final.pt")
    write_part(folder, encoder="def encode_window(self, *_): return 1 / 0")
    assert run(folder, "encode", str(folder / "songs" / "0.mid"), "--checkpoint", bundle) == 2
    (line,) = lines_of(capsys)
    assert "encoder 'shaky' of " in line
    assert "(encode_batch, in this command): ZeroDivisionError" in line
    write_part(folder, encoder="def decode(self, tokens): return 1 / 0")
    (folder / "tokens.txt").write_text("1 129 3")
    out = str(folder / "decoded.mid")
    assert run(folder, "decode", str(folder / "tokens.txt"), "--checkpoint", bundle, "-o", out) == 2
    (line,) = lines_of(capsys)
    assert "(decode, in this command): ZeroDivisionError" in line


def test_weights_are_numbers_and_a_grammar_without_a_limit_gets_one() -> None:
    class Tokens:
        vocab_size = 4

        def grammar(self) -> Any:
            return Endless()

    class Endless:
        def start(self, batch: Any, request: Any) -> None:
            pass

        def weights(self, out: Any) -> None:
            out[:] = 1.0
            out[0, 2] = values[0]

        def take(self) -> Any:
            return np.zeros(3, np.int32), np.zeros(3, np.int32), np.array([0, 3])

    grammar: Any = guarded(Tokens(), "encoder 'x' of acme 1").grammar()  # type: ignore[arg-type]
    batch = TokenBatch(
        tokens=np.zeros(2, np.int32),
        offsets=np.array([0, 2]),
        role=np.zeros(2, np.uint8),
        status=np.zeros(1, np.uint8),
        masked_spans=np.zeros((0, 3), np.int64),
    )
    limits = {name: np.zeros(1, np.int32) for name in ("max_tokens", "max_notes", "max_polyphony")}
    grammar.start(batch, GrammarRequest(cells=np.ones((1, 1, 1), bool), choose_attributes=np.zeros(1, bool), **limits))
    for wrong in (np.nan, np.inf, -1.0):
        values = [wrong]
        with pytest.raises(ComponentError, match=r"encoder 'x' of acme 1 failed \(grammar: weights, in generation\)"):
            grammar.weights(np.zeros((1, 4)))
    values = [0.5]
    grammar.weights(np.zeros((1, 4)))
    with pytest.raises(ComponentError, match="document 0 within 8 times the tokens of the longest prompt, which is 16"):
        for _ in range(9):
            grammar.take()


def test_a_server_names_plugin_component_and_method(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In answers, streams and in what is prepared before a generation; the exception's message stays in the log."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_part(folder)
    flags = ["--plugins-dir", str(folder / "plugins"), "--plugins-dir", str(EXAMPLE)]
    with serving(folder, flags) as client:
        asked = body(2, config={"model_dim": 4})
        assert client.post("/generate", json=asked).status_code == 200
    for fault, method in (
        ({"encoder": "def decode(self, tokens): raise OSError('/home/me/key')"}, "decode, in generation"),
        ({"encoder": "def accepts_signatures(self, *_): return 1 / 0"}, "accepts_signatures, in generation"),
        ({"grammar": "def mask(self, out): return 1 / 0"}, "grammar: mask, in generation"),
    ):
        write_part(folder, **fault)
        with serving(folder, flags) as client:
            caplog.clear()
            answer = client.post("/generate", json=asked)
            assert answer.status_code == 500
            detail = answer.json()["detail"]
            assert detail.startswith("encoder 'shaky' of ")
            assert f"failed ({method})" in detail
            assert detail.endswith("This is a bug of the plugin. The server's log has the traceback.")
            assert "/home/me" not in detail
            assert any(record.exc_info for record in caplog.records)
            streamed = client.post("/generate", json=asked | {"stream": True}).text
            assert f"failed ({method})" in streamed
    write_part(folder, encoder="def to_config(self): return 1 / 0")
    with serving(folder, flags) as client:
        answer = client.get("/info")
        assert answer.status_code == 500
        assert "encoder 'shaky' of " in answer.json()["detail"]
        assert "(to_config, in /info): ZeroDivisionError" in answer.json()["detail"]
    write_part(folder)


@contextmanager
def serving(folder: Path, flags: list[str]) -> Iterator[TestClient]:
    """A server over the bundle of the plugin, in this process."""
    registry = load_registry(Selection(plugin_dirs=tuple(flags[1::2])))
    with process_registry(registry):
        model = Model.load(ModelSettings(id="shaky", checkpoint=str(folder / "run" / "model_final.pt")))
        app = build_app(Models([model]), ServerSettings(models=[ModelSettings(id="shaky")]), lambda: None)
        with TestClient(app, base_url="http://127.0.0.1:3456") as client:
            yield client


def test_a_guard_is_copied_and_asked_for_what_is_not_there() -> None:
    class Sound:
        name = "sound"

    made: Any = guarded(Sound(), "encoder acme/x")  # type: ignore[arg-type]
    assert copy.copy(made).name == "sound"
    assert not hasattr(made, "later")
    assert getattr(made, "later", None) is None
