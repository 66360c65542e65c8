"""Names on the Hub, the cache behind them and pushing, against a stub Hub over HTTP on loopback."""

from __future__ import annotations

import errno
import logging
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from attrs import evolve
from huggingface_hub import scan_cache_dir
from transformers import GPT2LMHeadModel

from midigpt_core.checkpoint import build_model, from_pretrained, push_to_hub, save_bundle, save_pretrained
from midigpt_core.checkpoint.hub import choose, fetch
from midigpt_core.errors import CheckpointError
from midigpt_core.inference import InferenceEngine
from support.stub_hub import TOKEN, StubHub
from support.tiny_gpt2 import tiny_gpt2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midigpt_gpt2.model import Gpt2

    from midigpt_core.contracts import Bundle

pytestmark = pytest.mark.usefixtures("tiny_registry", "loopback_only")

REPO = "Metacreation/MIDI-GPT"


@pytest.fixture
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach a real host."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_INET and address[0] != "127.0.0.1":
            pytest.fail(f"a test wanted to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    with StubHub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def content(bundle: Bundle, folder: Path, steps: int, suffix: str = ".safetensors") -> bytes:
    """A bundle's file that says how many steps it had."""
    path = folder / f"made-{steps}{suffix}"
    return save_bundle(evolve(bundle, provenance={**bundle.provenance, "steps": steps}), path).read_bytes()


@pytest.mark.parametrize(
    ("files", "name", "chosen"),
    [
        (["a-final.safetensors", "a-step900.safetensors"], "a", "a-final.safetensors"),
        (["a-step900.safetensors", "a-step1000.safetensors", "a-step99.safetensors"], "a", "a-step1000.safetensors"),
        (["a-final.pt", "a-final.safetensors"], "a", "a-final.safetensors"),
        (["a-step10.pt", "a-step9.safetensors"], "a", "a-step10.pt"),
        (["a-final.pt"], "a", "a-final.pt"),
        (["ab-final.pt", "a-step1.pt"], "a", "a-step1.pt"),
        (["a-b-final.pt", "a-step1-final.pt"], "a-step1", "a-step1-final.pt"),
        (["folder/a-final.pt", "a-step1.pt"], "a", "a-step1.pt"),
        (["a-step7.pt"], "a-step7.pt", "a-step7.pt"),
        (["only-step7.pt", "README.md"], None, "only-step7.pt"),
        (["config.json", "encoder.json", "model.safetensors", "a-final.pt"], None, None),
        (["config.json", "encoder.json", "model.safetensors", "a-final.pt"], "a", "a-final.pt"),
    ],
)
def test_a_name_is_the_final_model_else_the_highest_step(
    files: list[str], name: str | None, chosen: str | None
) -> None:
    assert choose(files, name, REPO) == chosen
    assert choose(reversed(files), name, REPO) == chosen


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        (["yellow_medium-final.pt"], "yelow_medium", "no model 'yelow_medium'. Did you mean 'yellow_medium'?"),
        (["a-final.pt", "b-step1.pt", "a-step2.pt"], "c", "It holds: a, b."),
        (["a-final.pt", "b-step1.pt"], None, "it holds the models: a, b. Ask for one as Metacreation/MIDI-GPT/NAME."),
        (["a-final.onnx", "a-stepx.pt", "a-step-1.pt"], "a", "It holds: none."),
        (["config.json", "model.safetensors"], None, "it holds the models: none."),
        ([], "a", "It holds: none."),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(files: list[str], name: str | None, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        choose(files, name, REPO)
    assert message in str(caught.value)


def test_a_name_is_fetched_once_and_the_newest_is_found(
    hub: StubHub, bundle: Bundle, tmp_path: Path, cache: Path
) -> None:
    hub.add(REPO, {f"a-step{steps}.safetensors": content(bundle, tmp_path, steps) for steps in (90, 1000)})
    first = from_pretrained("a", cache_dir=cache)
    assert first.provenance["steps"] == 1000
    assert all(torch.equal(first.state_dict[name], tensor) for name, tensor in bundle.state_dict.items())
    hub.requests.clear()
    assert from_pretrained("a", cache_dir=cache).provenance["steps"] == 1000
    assert not [request for request in hub.requests if request.startswith("GET /Metacreation")]
    hub.add(REPO, {"a-final.safetensors": content(bundle, tmp_path, 1200)})
    assert from_pretrained("a", cache_dir=cache).provenance["steps"] == 1200
    other = hub.add("me/models", {"b-final.pt": content(bundle, tmp_path, 5, ".pt")})
    old = other.head
    other.commit({"b-final.pt": content(bundle, tmp_path, 6, ".pt")})
    assert from_pretrained("b", hf_repo="me/models", cache_dir=cache).provenance["steps"] == 6
    assert from_pretrained("me/models/b", cache_dir=cache).provenance["steps"] == 6
    assert from_pretrained("me/models", cache_dir=cache, revision=old).provenance["steps"] == 5


def test_a_path_that_exists_is_not_asked_of_the_hub(hub: StubHub, bundle: Bundle, tmp_path: Path) -> None:
    path = save_bundle(bundle, tmp_path / "m.pt")
    assert fetch(path) == path
    assert from_pretrained(str(path)).provenance == bundle.provenance
    assert hub.requests == []


def unplugged(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.close()


def refusing(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.status = 403


def broken(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.status = 500


def portal(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.page = b"<!DOCTYPE html><title>Log in</title>"


def proxy(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.page = b'{"error": "log in"}'


def other_list(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.page = b"[1]"


def gated(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos[REPO].gated = True


def vanished(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    del hub.repos[REPO]


TROUBLES = {
    unplugged: "does not answer",
    refusing: "refuses Metacreation/MIDI-GPT with this token",
    broken: "answers 500 for Metacreation/MIDI-GPT",
    portal: "does not answer as the Hub does",
    proxy: "does not answer as the Hub does",
    other_list: "does not answer as the Hub does",
    gated: "Metacreation/MIDI-GPT is gated: 1. accept its terms at ",
    vanished: "shows no model 'Metacreation/MIDI-GPT'",
}


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_trouble_is_explained_and_a_cached_copy_used(
    *, trouble: Any, hub: StubHub, bundle: Bundle, tmp_path: Path, cache: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    repo = hub.add(REPO, {"a-final.safetensors": content(bundle, tmp_path, 1)})
    from_pretrained("a", cache_dir=cache)
    # Another model is fetched at a later commit: the cache's newest snapshot has no "a".
    repo.commit({"b-final.safetensors": content(bundle, tmp_path, 2)})
    from_pretrained("b", cache_dir=cache)
    repo.commit({"a-final.safetensors": content(bundle, tmp_path, 3)})
    trouble(hub, monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert from_pretrained("a", cache_dir=cache).provenance["steps"] == 1
    assert TROUBLES[trouble] in caplog.text
    assert "Using the copy in the cache" in caplog.text
    with pytest.raises(CheckpointError) as caught:
        from_pretrained("a", cache_dir=tmp_path / "empty")
    assert TROUBLES[trouble] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_copy_is_used_though_the_fetch_of_a_later_commit_broke_off(
    hub: StubHub, bundle: Bundle, tmp_path: Path, cache: Path
) -> None:
    """huggingface_hub notes the later commit before its files: its scan of the cache leaves such a repository out."""
    hub.add(REPO, {"a-final.safetensors": content(bundle, tmp_path, 1)})
    path = fetch("a", cache_dir=cache)
    (main,) = cache.glob("models--*/refs/main")
    main.write_text("0" * 40)
    assert not scan_cache_dir(cache).repos
    hub.close()
    assert fetch("a", cache_dir=cache) == path


def test_a_gate_opens_with_a_token(hub: StubHub, bundle: Bundle, tmp_path: Path, cache: Path) -> None:
    hub.add(REPO, {"a-final.safetensors": content(bundle, tmp_path, 1)}, gated=True)
    with pytest.raises(CheckpointError, match=f"is gated: 1. accept its terms at {hub.url}/{REPO}, 2. make a token"):
        from_pretrained("a", cache_dir=cache)
    assert from_pretrained("a", cache_dir=cache, token=TOKEN).provenance["steps"] == 1


def test_nothing_is_asked_with_local_files_only(hub: StubHub, bundle: Bundle, tmp_path: Path, cache: Path) -> None:
    hub.add(REPO, {"a-final.safetensors": content(bundle, tmp_path, 1)})
    with pytest.raises(CheckpointError, match=r"no copy is in the cache\. Leave local_files_only out"):
        from_pretrained("a", cache_dir=cache, local_files_only=True)
    assert hub.requests == []
    from_pretrained("a", cache_dir=cache)
    hub.requests.clear()
    assert from_pretrained("a", cache_dir=cache, local_files_only=True).provenance["steps"] == 1
    assert hub.requests == []


@pytest.mark.parametrize("name", ["runs/001/model_final.pt/x", "../model.pt", "no such name", "a//b", "", "x" * 200])
def test_what_can_be_no_name_is_not_asked_of_the_hub(hub: StubHub, name: str) -> None:
    with pytest.raises(CheckpointError, match="no such file or folder, and it is no name on the Hub"):
        fetch(name or "|")
    assert hub.requests == []


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_hub(
    hub: StubHub, bundle: Bundle, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    hub.add(REPO, {"a-final.safetensors": content(bundle, tmp_path, 1)})
    monkeypatch.setattr("midigpt_core.checkpoint.hub.hf_hub_download", full)
    with pytest.raises(CheckpointError, match=r"the cache cannot be written \(No space left on device\)"):
        from_pretrained("a", cache_dir=cache)


def test_a_wrong_revision_is_named(hub: StubHub, bundle: Bundle, tmp_path: Path, cache: Path) -> None:
    hub.add(REPO, {"a-final.safetensors": content(bundle, tmp_path, 1)})
    with pytest.raises(CheckpointError, match="has no revision 'v9'"):
        from_pretrained("a", cache_dir=cache, revision="v9")


def test_a_hostile_file_from_the_hub_is_refused_like_any_other(hub: StubHub, cache: Path) -> None:
    hub.add(REPO, {"a-final.safetensors": b"\xff" * 8 + b"{}", "b-final.pt": b"PK\x03\x04 hello"})
    for name in ("a", "b"):
        with pytest.raises(CheckpointError):
            from_pretrained(name, cache_dir=cache)


def test_a_folder_is_pushed_and_comes_back(
    *, hub: StubHub, bundle: Bundle, model: Gpt2, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = push_to_hub(bundle, "me/tune", private=True, token=TOKEN)
    repo = hub.repos["me/tune"]
    assert url == f"{hub.url}/me/tune/commit/{repo.head}"
    assert repo.private
    assert set(repo.commits[repo.head]) == {
        ".gitattributes", "README.md", "config.json", "encoder.json", "generation_config.json", "model.safetensors",
    }  # fmt: skip
    with pytest.raises(CheckpointError, match="shows no model 'me/tune'"):
        from_pretrained("me/tune", cache_dir=cache)
    loaded = from_pretrained("me/tune", cache_dir=cache, token=TOKEN)
    tokens = torch.randint(0, 97, (1, 20))
    with torch.no_grad():
        assert torch.equal(build_model(loaded)(tokens), model(tokens))
    # A card that someone wrote stays, the weights are replaced.
    repo.commit({"README.md": b"by hand"})
    with caplog.at_level(logging.WARNING):
        push_to_hub(evolve(loaded, provenance={**loaded.provenance, "steps": 51}), "me/tune", token=TOKEN)
    assert repo.commits[repo.head]["README.md"] == b"by hand"
    assert "keeps its README.md" in caplog.text
    again = from_pretrained("me/tune", cache_dir=cache, token=TOKEN)
    assert again.provenance["steps"] == 51
    hub.close()
    assert from_pretrained("me/tune", cache_dir=cache).provenance["steps"] == 51


def test_pushing_without_rights_is_explained(hub: StubHub, bundle: Bundle) -> None:
    with pytest.raises(CheckpointError, match="refuses me/tune with this token"):
        push_to_hub(bundle, "me/tune", token=False)
    with pytest.raises(CheckpointError, match="'not a name' is no name of a repository"):
        push_to_hub(bundle, "not a name", token=TOKEN)
    hub.page = b"<!DOCTYPE html>"
    with pytest.raises(CheckpointError, match="does not answer as the Hub does"):
        push_to_hub(bundle, "me/tune", token=TOKEN)
    hub.close()
    with pytest.raises(CheckpointError, match="does not answer"):
        push_to_hub(bundle, "me/tune", token=TOKEN)


def test_save_pretrained_writes_a_folder_and_may_push_it(
    hub: StubHub, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = save_pretrained(bundle, tmp_path / "tune", push_to_hub=True)
    assert from_pretrained(folder).provenance == bundle.provenance
    assert isinstance(GPT2LMHeadModel.from_pretrained(folder), GPT2LMHeadModel)
    head = hub.repos["me/tune"].commits[hub.repos["me/tune"].head]
    assert head["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_an_engine_saves_and_pushes_the_weights_it_has(
    hub: StubHub, bundle: Bundle, tmp_path: Path, cache: Path
) -> None:
    engine = InferenceEngine.from_bundle(bundle)
    with torch.no_grad():
        engine.model.lm_head.weight[0, 0] += 1.0
    engine.push_to_hub("me/tuned", token=TOKEN)
    folder = engine.save_pretrained(tmp_path / "tuned")
    for again in (from_pretrained("me/tuned", cache_dir=cache), from_pretrained(folder)):
        assert again.provenance == bundle.provenance
        assert torch.equal(again.state_dict["lm_head.weight"], engine.model.lm_head.weight)
    with pytest.raises(CheckpointError, match="no bundle to save"):
        InferenceEngine(engine.model, engine.encoder).save_pretrained(tmp_path / "none")


def test_a_process_of_its_own_finds_the_hub_by_environment(hub: StubHub, tmp_path: Path) -> None:
    """HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE, as a user sets them."""
    from midigpt_encoder.config import EncoderConfig

    from midigpt_core.contracts import Bundle

    made = tiny_gpt2(647, 8, n_embd=8, n_layer=1, n_head=1)
    yellow = Bundle(
        architecture="gpt2",
        architecture_config=made.architecture_config(),
        encoder="midigpt",
        encoder_config=EncoderConfig.from_preset("yellow").to_dict(),
        state_dict=made.state_dict(),
    )
    hub.add(REPO, {"small-final.safetensors": save_bundle(yellow, tmp_path / "m.safetensors").read_bytes()})
    script = (
        "from midigpt.inference import InferenceEngine;"
        "print(InferenceEngine.from_pretrained('small', device='cpu').encoder.vocab_size)"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
    for offline in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**environment, "HF_HUB_OFFLINE": offline},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "647\n"), done.stderr
        assert ("HF_HUB_OFFLINE is set" in done.stderr) == (offline == "1")
    assert (tmp_path / "hf" / "hub" / "models--Metacreation--MIDI-GPT").is_dir()
