"""Every code block of every page is executed, or parsed, or marked with the reason why it cannot be."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from midigpt_encoder.data_files import preset_names as presets_of_encoders

from midigpt_core.cli.main import main
from midigpt_core.config import TrainConfig
from midigpt_core.config.overrides import override_problems
from midigpt_core.config.packaged import preset_names as presets_of_settings
from midigpt_core.config.train import setting_names
from midigpt_core.kinds import RUN_KINDS, Kind
from midigpt_core.plugins import current_registry
from support.adapters import lora_for
from support.commands import OUTSIDE, PROJECT, ROOT, missing_command
from support.serving import small_bundle
from support.stub_hub import TOKEN, StubHub

if TYPE_CHECKING:
    from collections.abc import Iterator

#: In the line before a block.
MARK = re.compile(r"<!-- not run: (?P<reason>.+) -->\s*")
SHELL = {"", "sh", "bash"}
LANGUAGES = SHELL | {"python", "json", "yaml", "toml", "text"}


def page_on(kind: str) -> str:
    return Path("docs/plugins", kind.replace("_", "-") + "s").with_suffix(".md").as_posix()


#: The tests that execute all blocks of a language on a page.
RUN_BY = {
    ("README.md", "python"): "tests/docs/test_generation.py::test_the_readme_fills_two_bars",
    ("docs/encoder.md", "python"): "tests/docs/test_encoder.py::test_every_oddity_is_as_the_page_says",
    ("docs/generation.md", "python"): "tests/docs/test_generation.py::test_the_page_writes_four_variations",
    ("docs/walk.md", "python"): "tests/docs/test_walk.py::test_every_block_of_the_walk_runs",
    ("docs/migrating.md", "python"): "tests/docs/test_migrating.py::test_the_blocks_run_from_top_to_bottom",
    ("docs/migrating.md", "json"): "tests/docs/test_migrating.py::test_the_blocks_run_from_top_to_bottom",
    ("docs/running.md", "bash"): "tests/docs/test_running.py::test_the_job_script_requeues_what_was_stopped",
    ("docs/daw.md", "yaml"): "tests/docs/test_blocks.py::test_the_server_reads_the_file_of_its_page",
    ("docs/plugins/grammars.md", "python"): (
        "tests/docs/test_plugin_pages.py::test_the_grammar_of_its_page_generates_what_the_page_shows"
    ),
    **{
        (f"docs/plugins/{page}", language): f"tests/docs/test_plugin_pages.py::{test}"
        for page, test in (
            ("tutorial.md", "test_every_block_of_the_tutorial_runs"),
            ("encoder_tutorial.md", "test_every_block_of_the_tutorial_on_encoders_runs"),
        )
        for language in ("sh", "python", "json")
    },
    **{
        (page_on(kind), "json"): ("tests/docs/test_plugin_pages.py::test_every_example_is_selected_as_its_page_says")
        for kind in RUN_KINDS
    },
    ("docs/plugins/metrics.md", "json"): (
        "tests/docs/test_plugin_pages.py::test_the_example_of_a_metric_is_selected_as_its_page_says"
    ),
    **{
        (page, "python"): "tests/docs/test_blocks.py::test_the_python_of_a_page_runs"
        for page in (
            "docs/adapters.md",
            "docs/bundles.md",
            "docs/commands.md",
            "docs/plugins/README.md",
            "docs/plugins/promises.md",
        )
    },
    # Excerpts of the source and of examples/, which have tests of their own.
    **{
        (page, "python"): ("tests/docs/test_plugin_pages.py::test_pages_and_examples_are_what_the_source_says")
        for page in ("docs/plugins/callbacks.md", *map(page_on, Kind))
    },
}
#: Programs of the shell, of clusters and of systems, besides those of this project.
OTHER_PROGRAMS = OUTSIDE | {
    "[", "cd", "cp", "curl", "docker", "echo", "eval", "exit", "export", "fi", "if", "kill", "mv", "pytest",
    "scontrol", "sed", "source", "srun", "then", "build/fuzz/tests/fuzz/fuzz_replay",
}  # fmt: skip
PROGRAMS = OTHER_PROGRAMS | {"make", "midigpt", "pip", "python", *PROJECT["project"]["scripts"]}
#: Commands that examples add.
COMMANDS_OF_EXAMPLES = {
    name
    for path in ROOT.glob("examples/*/pyproject.toml")
    for name in tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    .get("entry-points", {})
    .get("midigpt_core.commands", {})
}


SETTINGS = set(setting_names())
#: The components of this distribution and of the examples, by the setting that chooses them.
COMPONENTS = {
    kind.setting: {item.spec.name for item in current_registry().provided(kind)}
    | {
        name
        for path in ROOT.glob("examples/*/*/plugin.py")
        for name in re.findall(r'name="([\w-]+)"', path.read_text(encoding="utf-8"))
    }
    for kind in RUN_KINDS
}


@attrs.frozen
class Block:
    page: str
    number: int
    language: str
    text: str
    #: Why it is not executed, if the page says so.
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}, block {self.number} ({self.language or 'shell'})"


def blocks_of(page: str, text: str) -> list[Block]:
    """The fenced and the indented blocks; an indented one is for the shell."""
    tokens = MarkdownIt().parse(text)
    found: list[Block] = []
    for before, token in itertools.pairwise([None, *tokens]):
        if token is not None and token.type in {"fence", "code_block"}:
            mark = MARK.fullmatch(before.content) if before is not None and before.type == "html_block" else None
            reason = mark["reason"] if mark else None
            found.append(Block(page, len(found) + 1, token.info.strip(), token.content, reason))
    return found


def all_blocks() -> list[Block]:
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "changelog.d/README.md")]
    pages += [path for folder in ("docs", "examples", "bench") for path in (ROOT / folder).rglob("*.md")]
    return [
        block
        for path in sorted(pages)
        for block in blocks_of(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]


BLOCKS = all_blocks()


def readable(text: str) -> str:
    """A shell block without comments, placeholders in angle brackets and line ends within a command."""
    text = re.sub(r"(^|(?<=\s))#.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"<(\w+)>", r"\1", text).replace("\\\n", " ")


def simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a shell block, without assignments and redirections.

    ``midigpt config show | convert`` on a page is two commands, ``midigpt encode … | midigpt decode -`` as well.
    """
    lexer = shlex.shlex(readable(text), posix=True, punctuation_chars="|;&<>\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words: list[str] = []
    group: list[str] = []
    for word in [*lexer, ";"]:
        if not set(word) <= set("|;&<>\n"):
            words.append(word)
        elif set(word) <= set("|;&\n"):
            words = list(itertools.dropwhile(re.compile(r"[A-Za-z_]\w*=").match, words))
            if words:
                yield [*group, *words] if words[0] not in PROGRAMS else words
            group = words[:2] if word == "|" and words[:1] == ["midigpt"] else group if word == "|" else []
            words = []


def problem(words: list[str]) -> str | None:
    """What a command of a page names that does not exist."""
    program, arguments = words[0], words[1:]
    if program in OTHER_PROGRAMS:
        return None
    if program in {"python", "torchrun"}:
        if arguments[0] == "-c":
            return None if ast.parse(textwrap.dedent(arguments[1])) else arguments[1]
        if "-m" in arguments:
            module = arguments[arguments.index("-m") + 1]
            return None if importlib.util.find_spec(module) else module
        return None if (ROOT / arguments[0]).is_file() else arguments[0]
    if program == "pip":
        extras = re.findall(r"midigpt-core\[(.+?)\]", " ".join(arguments))
        unknown = [extra for extra in extras if extra not in PROJECT["project"]["optional-dependencies"]]
        return unknown[0] if unknown else None
    if program == "midigpt-http":
        return None if program in PROJECT["project"]["scripts"] else program
    # An ellipsis stands for more options, and [--json] for one that may be given.
    kept = [word.strip("[]") for word in itertools.takewhile(lambda word: word != "--", arguments) if word != "…"]
    options = [word for word in kept if word.startswith("-") and not re.fullmatch(r"-\d.*|-", word)]
    named = list(itertools.takewhile(lambda word: not word.startswith("-"), kept))
    if program == "midigpt" and named[:1] and named[0] in COMMANDS_OF_EXAMPLES:
        return None
    if program == "midigpt":
        found = missing_command([program, *leading_commands(named), *(word.partition("=")[0] for word in options)])
        return found or next(wrong_values(leading_commands(named), kept), None)
    return missing_command([program, *kept])


def leading_commands(words: list[str]) -> list[str]:
    """``words`` as far as they name commands; files and names come after."""
    import click

    from midigpt_core.cli.root import root

    command: click.Command = root
    for count, word in enumerate(words):
        if not isinstance(command, click.Group):
            return words[:count]
        found = command.get_command(click.Context(command), word)
        if found is None:
            return words[: count + 1]
        command = found
    return words


def wrong_values(names: list[str], words: list[str]) -> Iterator[str]:
    """The values of options in ``words`` that their command would refuse: no choice, no number, no component or preset.

    Paths are what a reader has, and words with … or in capitals are for the reader to replace.
    """
    import click

    command = command_at(names)
    known = {name: option for option in command.params if isinstance(option, click.Option) for name in option.opts}
    for word, following in itertools.pairwise([*words, ""]):
        name, is_one_word, value = word.partition("=")
        option = known.get(name)
        value = value if is_one_word else following
        # The value of some options can be left out.
        left_out = option is not None and option.flag_value is not None and (not value or value.startswith("-"))
        if option is None or option.is_flag or left_out or "…" in value or "$" in value or value.isupper():
            continue
        if not accepts(command.name, option, value):
            yield f"{name} {value}"


def command_at(names: list[str]) -> Any:
    import click

    from midigpt_core.cli.root import root

    command: click.Command = root
    for name in names:
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), name) or command
    return command


def accepts(command: str, option: Any, value: str) -> bool:
    import click

    name = option.name
    if name in {"encoder_config_path", "encoder_config"}:
        return "/" in value or "." in value or value in presets_of_encoders()
    if name == "config_file":
        return "/" in value or "." in value or value in presets_of_settings()
    # The settings of a run are words until the configuration is made.
    if command == "train" and name in SETTINGS | {"assignments"}:
        assignment = value if name == "assignments" else f"{name}={value}"
        chosen, _, text = assignment.partition("=")
        if chosen in COMPONENTS:
            return text.startswith(("{", "[")) or text.rpartition("/")[2] in COMPONENTS[chosen]
        # An option of a component that was chosen before.
        return "." in chosen or not override_problems(TrainConfig(), [assignment])
    try:
        option.type.convert(value, option, click.Context(click.Command("page")))
    except click.BadParameter:
        return False
    return True


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in SHELL], ids=str)
def test_the_commands_of_a_block_exist(block: Block) -> None:
    checked = subprocess.run(["bash", "-n"], input=readable(block.text), text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    commands = list(simple_commands(block.text))
    assert commands
    found = {" ".join(words): name for words in commands if (name := problem(words))}
    assert not found


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=str)
def test_a_configuration_is_one(block: Block) -> None:
    content = json.loads(block.text)
    if (block.page, "json") not in RUN_BY:
        TrainConfig.from_mapping(content, block.page)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in {"toml", "yaml", "python"}], ids=str)
def test_a_block_can_be_read(block: Block) -> None:
    if block.language == "toml":
        assert tomllib.loads(block.text)["project"]["entry-points"]
    elif block.language == "yaml":
        assert isinstance(yaml.safe_load(block.text), dict)
    else:
        ast.parse(block.text)


def test_every_block_of_code_is_executed_or_says_why_not() -> None:
    assert len(BLOCKS) > 150
    assert [str(block) for block in BLOCKS if block.language not in LANGUAGES] == []
    of_code = [block for block in BLOCKS if block.language in {"python", "yaml", "bash"}]
    assert len(of_code) > 100
    assert [str(block) for block in of_code if not block.reason and (block.page, block.language) not in RUN_BY] == []
    # Diagrams and what a program prints are no way around it.
    text = [block for block in BLOCKS if block.language == "text"]
    command = re.compile(r"^(midigpt|make|pip|python|import|from) \S", re.MULTILINE)
    assert [str(block) for block in text if command.search(block.text)] == []


def test_the_tests_that_execute_blocks_exist() -> None:
    assert RUN_BY.keys() <= {(block.page, block.language) for block in BLOCKS}
    for (page, _), name in RUN_BY.items():
        path, _, test = name.partition("::")
        source = (ROOT / path).read_text(encoding="utf-8")
        assert f"def {test}(" in source, name
        assert Path(page).name in source or path.endswith(("test_plugin_pages.py", "test_blocks.py")), (page, name)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("midigpt train songs/ --no-such-option 3", "--no-such-option"),
        ("midigpt tran songs/", "tran"),
        ("FOO=1 mkfs --all", "mkfs"),
        ("midigpt generate … --audio  # sound", None),
        ("midigpt encode song.mid --json | midigpt decode - -o out.mid", None),
        ("midigpt config show | convert", None),
        ("midigpt config show | revert  # both", "revert"),
        ("make test  # tests\nmake sites", "sites"),
        ("pip install 'midigpt-core[sound]'", "sound"),
        ("python -m midigpt.training.trainer --config x", None),
        ("python docs/demo/no_such.py", "docs/demo/no_such.py"),
        ("midigpt evaluate --precision fp64", "--precision fp64"),
        ("midigpt evaluate --precision=bf16", None),
        ("midigpt train songs/ --minutes soon", "--minutes soon"),
        ("midigpt train songs/ --optimizer adam", "--optimizer adam"),
        ("midigpt train songs/ --logger mlflow --set optimizer=adamw", None),
        ("midigpt train songs/ --encoder-config gelb", "--encoder-config gelb"),
        ("midigpt train songs/ --config sixteen", "--config sixteen"),
        ("midigpt train songs/ --max-steps many", "--max-steps many"),
        ("midigpt train songs/ --set max_steps=many", "--set max_steps=many"),
        ("midigpt train songs/ --set precision=fp8", "--set precision=fp8"),
        ("midigpt train songs/ --max-steps N -o runs/…", None),
        ("midigpt encode song.mid --encoder-config gelb", "--encoder-config gelb"),
        ("midigpt plugins new mine --kind sound", "--kind sound"),
    ],
)
def test_what_does_not_exist_is_found(text: str, found: str | None) -> None:
    assert next(filter(None, map(problem, simple_commands(text))), None) == found


def test_a_mark_is_seen() -> None:
    (block,) = blocks_of("x", "Text.\n\n<!-- not run: it formats the disk -->\n```sh\nmkfs\n```\n")
    assert block.reason == "it formats the disk"
    (block,) = blocks_of("x", "<!-- not run: no -->\n\nText.\n\n    mkfs\n")
    assert (block.reason, block.text, block.language) == (None, "mkfs\n", "")


def test_the_server_reads_the_file_of_its_page(tmp_path: Path) -> None:
    from midigpt_server.settings import ServerSettings, from_file

    (block,) = (block for block in BLOCKS if (block.page, block.language) == ("docs/daw.md", "yaml"))
    (tmp_path / "server.yaml").write_text(block.text, encoding="utf-8")
    settings = from_file(str(tmp_path / "server.yaml"), ServerSettings(models=[]))
    content = yaml.safe_load(block.text)
    assert settings.port == content["port"]
    assert [model.id for model in settings.models] == [model["id"] for model in content["models"]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What the blocks of pages find: a configuration, shards, bundles, adapters, and a Hub with models on loopback."""
    monkeypatch.chdir(tmp_path)
    for name in ("MIDIGPT_CACHE", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    subprocess.run(
        [sys.executable, ROOT / "docs" / "demo" / "compose.py", tmp_path, "--train", "40", "--valid", "4"],
        check=True, capture_output=True,
    )  # fmt: skip
    shutil.move(tmp_path / "validation", tmp_path / "valid")
    settings = json.loads((ROOT / "docs" / "demo" / "train_config.json").read_text(encoding="utf-8"))
    tiny = {"n_embd": 16, "n_layer": 1, "n_head": 1, "max_steps": 2, "warmup_steps": 1, "save_steps": 2}
    (tmp_path / "train_config.json").write_text(json.dumps(settings | tiny | {"eval_steps": 2, "eval_rows": 1}))
    small_bundle(tmp_path).rename(tmp_path / "base.pt")
    lora_for(tmp_path / "base.pt", tmp_path / "runs" / "mine" / "adapter.safetensors")
    lora_for(tmp_path / "base.pt", tmp_path / "jazz.safetensors", seed=1)
    content = (tmp_path / "base.pt").read_bytes()
    with StubHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub.add("Metacreation/MIDI-GPT", {"yellow_medium-final.pt": content})
        hub.add("owner/repository", {"name-final.pt": content})
        yield tmp_path


PAGES = sorted(page for (page, _), name in RUN_BY.items() if name.endswith("::test_the_python_of_a_page_runs"))


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page: str, folder: Path) -> None:
    found = [block for block in BLOCKS if (block.page, block.language) == (page, "python") and not block.reason]
    assert found
    names: dict[str, Any] = {"attrs": attrs, "keys": np.arange(4, dtype=np.uint64)}
    for block in found:
        exec(compile(block.text, str(block), "exec"), names)
    made = {
        "docs/bundles.md": "folder/config.json",
        "docs/commands.md": "runs/001/model_final.pt",
    }
    if page in made:
        assert (folder / made[page]).is_file()


def test_the_commands_on_adapters_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All but the server, which ends with the terminal."""
    for seed, name in enumerate(("a", "b")):
        lora_for(folder / "base.pt", folder / f"{name}.safetensors", seed=seed)
    (block,) = (block for block in BLOCKS if block.page == "docs/adapters.md" and "midigpt adapters list" in block.text)
    commands = [words for words in simple_commands(block.text) if words[1] != "serve"]
    assert len(commands) == 5
    for _, *words in commands:
        limit = ["--set", "density_hard_limit=2", "--device", "cpu"] if words[0] == "generate" else []
        # The two adapters differ, which `diff` reports with this exit code.
        assert main([*words, *limit]) == (1 if words[1] == "diff" else 0), (words, capsys.readouterr().err)
    assert (folder / "mine.pt").is_file()
    assert (folder / "both.pt").is_file()
    assert [*folder.glob("out/*.mid")]
