"""Write ``examples/`` and the pages of ``docs/plugins/``, one for each hook, from the source.

The text of a page comes from ``midigpt_core/hookspecs.py``, the records from ``components.py``, what a component must
do from ``contracts.py`` and ``records.py``, its checks from ``midigpt_core/testing``, and its example from the
templates of ``midigpt plugins new``.

python docs/plugin_pages.py           # writes them
python docs/plugin_pages.py --check   # names what is not as it would be written; exit code 1 if there is any
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import shlex
import shutil
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from midigpt_core import components, contracts, hookspecs, records
from midigpt_core.cli.new_plugin import CALLBACK, COMMAND, distribution
from midigpt_core.encoding import token_grammar, window_encoder
from midigpt_core.kinds import RUN_KINDS, Kind
from midigpt_core.plugins.describe import ComponentReport, describe
from midigpt_core.plugins.discovery import discover
from midigpt_core.plugins.selection import Selection
from midigpt_core.score import window_notes

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "plugins"
EXAMPLES = ROOT / "examples"
#: The plugin of each kind in ``examples/``: the scaffold's, under this name.
NAMES = {
    Kind.SOURCE: "folders",
    Kind.ENCODER: "sixteenths",
    Kind.MASK: "every-other",
    Kind.ARCHITECTURE: "one-layer",
    Kind.OPTIMIZER: "lion",
    Kind.LOGGER: "lines",
    Kind.CHECKPOINT_FORMAT: "arrays",
    Kind.METRIC: "empty-bars",
    Kind.ATTRIBUTE: "leaps",
    Kind.ADAPTER: "gains",
}
#: Examples that are no component: the folder, the plugin's name and its kind. The scaffold writes these too.
OTHERS = (("command", "count-notes", COMMAND), ("early-stopping", "patience", CALLBACK))
#: The folders that this script writes.
GENERATED = (*Kind, *(folder for folder, _, _ in OTHERS))
#: The one hook that returns no records; its example is written by hand.
CALLBACKS = "midigpt_callbacks"
HOOKS = [name for name in vars(hookspecs) if name.startswith("midigpt_")]

#: Where the classes that pages explain are defined.
_MODULES = (contracts, records, window_encoder, token_grammar, window_notes)
_WIDTH = 124
_INDEX = "README.md"
#: The folder above the pages.
_UP = "../"
_SECTIONS = ("When it is called", "Bad input")
_Node = TypeVar("_Node", bound=ast.AST)
_ROLE = re.compile(r":(?:class|meth|func|mod|data|attr):`~?([\w.]+)`")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    wanted = {**examples(), **pages()}
    if parser.parse_args().check:
        problems = sorted(differences(wanted))
        sys.stderr.writelines(f"{problem}\n" for problem in problems)
        return int(bool(problems))
    for folder in GENERATED:
        shutil.rmtree(EXAMPLES / folder, ignore_errors=True)
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def differences(wanted: dict[Path, str]) -> Iterator[str]:
    """What is not there, is not as it would be written, or would not be written."""
    for path, text in wanted.items():
        name = path.relative_to(ROOT).as_posix()
        if not path.is_file():
            yield f"{name}: is not there. Run `make plugin-pages`."
        elif path.read_text(encoding="utf-8") != text:
            yield f"{name}: differs from what the source says. Run `make plugin-pages`."
    for folder in (EXAMPLES / name for name in GENERATED):
        for path in folder.rglob("*"):
            if path.is_file() and path not in wanted and not {"__pycache__", ".pytest_cache"} & set(path.parts):
                name = path.relative_to(ROOT).as_posix()
                yield f"{name}: is not generated. Run `make plugin-pages`, which removes it."


def examples() -> dict[Path, str]:
    """The files of ``examples/`` that the scaffold writes."""
    wanted = [*((kind.value, name, kind) for kind, name in NAMES.items()), *OTHERS]
    return {
        EXAMPLES / folder / path: text
        for folder, name, kind in wanted
        for path, text in distribution(name, kind).items()
    }


def pages() -> dict[Path, str]:
    """The page of each hook."""
    return {PAGES / page_name(hook): page(hook) for hook in HOOKS}


def page_name(hook: str) -> str:
    """``checkpoint-formats.md``."""
    return hook.removeprefix("midigpt_").replace("_", "-") + ".md"


def kind_of(hook: str) -> Kind | None:
    return next((kind for kind in Kind if kind.hook == hook), None)


def page(hook: str) -> str:
    kind = kind_of(hook)
    title, purpose, factory, sections = _hook_text(hook)
    parts = [
        f"# {title}",
        "<!-- `make plugin-pages` writes this page from the source. Change the docstrings there. -->",
        *[_markdown(paragraph, hook) for paragraph in purpose],
        _at_a_glance(hook, kind),
        "## When it is called",
        _markdown(sections["When it is called"], hook),
    ]
    parts += ["## The shortest complete example", *_example(kind)]
    if kind is not None:
        called = "The function" if kind is Kind.ATTRIBUTE else "The factory"
        parts += ["## The record", *_record(kind), f"## {called}", _markdown(factory, hook)]
    else:
        parts += ["## What it takes and returns", _markdown(factory, hook)]
    parts += [text for shown in explained_on(hook) for text in _class(shown, hook)]
    if kind is not None:
        parts += ["## Options", *_options(kind), "## Check it", *_checks(kind)]
    parts += ["## What bad input gets", _markdown(sections["Bad input"], hook), _ERRORS]
    parts += ["## How a user selects it", *_selection(kind)]
    return "\n\n".join(_wrapped(part.strip("\n")) for part in parts if part) + "\n"


# --- what the hook says -----------------------------------------------------------------------------------------------


def _hook_text(hook: str) -> tuple[str, list[str], str, dict[str, str]]:
    """Title, paragraphs on the purpose, what is said of the factory, and the sections of a hook's docstring."""
    paragraphs = _paragraphs(getattr(hookspecs, hook))
    title, _, first = paragraphs[0].partition(": ")
    purpose, factory, sections = [first[0].upper() + first[1:]], "", {}
    for paragraph in paragraphs[1:]:
        label, _, rest = paragraph.partition(": ")
        if label in _SECTIONS:
            sections[label] = rest[0].upper() + rest[1:]
        elif paragraph.startswith(("The factory takes", "The function takes", "The hook itself takes")):
            factory = paragraph
        elif paragraph != "::" and not paragraph.lstrip().startswith("@hookimpl"):
            purpose.append(paragraph)
    missing = [label for label in _SECTIONS if label not in sections] + ([] if factory else ["The factory takes"])
    if missing:
        raise ValueError(f"hookspecs.{hook}: the docstring has no paragraph that begins with {missing[0]!r}.")
    return title, purpose, factory, sections


def _paragraphs(subject: object) -> list[str]:
    text = inspect.getdoc(subject) or ""
    return [block.strip("\n") for block in re.split(r"\n\s*\n", text)]


def _at_a_glance(hook: str, kind: Kind | None) -> str:
    node = _parsed(getattr(hookspecs, hook), ast.FunctionDef)
    returned = ast.unparse(node.returns) if node.returns else "None"
    rows = [("hook", f"`{hook}({ast.unparse(node.args)}) -> {returned}`")]
    if kind is not None:
        rows += [
            ("kind", f"`{kind}`"),
            ("selected by", _selected_by(kind)),
            ("write one", f"`midigpt plugins new NAME --kind {kind}`"),
            ("example", f"[examples/{kind}](../../examples/{kind})"),
        ]
    else:
        rows += [("example", "[examples/callbacks](../../examples/callbacks)")]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _selected_by(kind: Kind) -> str:
    if kind is Kind.ATTRIBUTE:
        return "the option `attributes` of the encoder `midigpt`, or the key `attributes` of its configuration"
    return f"`{kind.option} NAME`" + (f", or the setting `{kind.setting}`" if kind in RUN_KINDS else "")


# --- records and contracts --------------------------------------------------------------------------------------------


def _record(kind: Kind) -> list[str]:
    record = components.RECORDS[kind]
    comments = _comments(components.ComponentSpec) | _comments(record)
    rows = []
    for field in attrs.fields(record):
        if field.name not in comments:
            raise ValueError(f"components.{record.__name__}.{field.name} has no comment. Say there what it means.")
        default = "required" if field.default is attrs.NOTHING else f"`{_default(field.default)}`"
        rows.append((f"`{field.name}`", f"`{field.type}`", default, _markdown(comments[field.name])))
    return [
        f"`midigpt_core.components.{record.__name__}`. All fields are passed by name.",
        _table(("field", "type", "default", "meaning"), rows),
    ]


def _default(value: Any) -> str:
    return "{}" if value == frozenset() else repr(value)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


@cache
def homes() -> dict[type, str]:
    """The classes that pages explain, each with the hook whose page does: the first that names it, or else the first
    from which it is reached."""
    found: dict[type, str] = {}
    said = {hook: _hook_text(hook) for hook in HOOKS}
    named = {
        hook: _mentioned(" ".join([factory, *purpose, *sections.values()]))
        for hook, (_, purpose, factory, sections) in said.items()
    }
    # What a hook's own text names is on its page, also if another page reaches it first through others.
    own = {shown: hook for hook in reversed(HOOKS) for shown in named[hook]}
    for hook in HOOKS:
        waiting = named[hook]
        while waiting:
            shown = waiting.pop(0)
            if shown not in found and own.get(shown, hook) == hook:
                found[shown] = hook
                waiting += _mentioned(inspect.getsource(shown))
    return found


def explained_on(hook: str) -> list[type]:
    """In the order in which a reader meets them: the context, what the factory returns, and what these mention."""
    return [shown for shown, home in homes().items() if home == hook]


def _mentioned(text: str) -> list[type]:
    """Classes of contracts and records by the names in a text, in their order."""
    names = dict.fromkeys(re.findall(r"\b[A-Z]\w+", text))
    return [found for name in names if (found := _class_named(name)) is not None]


def _class_named(name: str) -> type | None:
    for module in _MODULES:
        found = vars(module).get(name)
        if isinstance(found, type) and found.__module__ == module.__name__:
            return found
    return None


def _class(shown: type, hook: str) -> list[str]:
    said = [_markdown(paragraph, hook) for paragraph in _paragraphs(shown)]
    parts = [f"### {shown.__name__}", *said]
    node = _parsed(shown, ast.ClassDef)
    fields = _fields(shown, node)
    if fields:
        parts.append(f"```python\n{fields}\n```")
    methods = [_method(shown, child, hook) for child in node.body if isinstance(child, ast.FunctionDef)]
    parts += [method for method in methods if method]
    inherited = [base.__name__ for base in shown.__bases__ if _class_named(base.__name__)]
    if inherited:
        parts.insert(1, f"Everything of {_listed([_linked(name, hook) for name in inherited])}, and:")
    return parts


def _fields(shown: type, node: ast.ClassDef) -> str:
    """A class's fields as they stand in its source, with the comments that say what they mean."""
    lines = inspect.getsource(shown).splitlines()
    masked = set(range(node.lineno if ast.get_docstring(node) is None else node.body[0].end_lineno or 0))
    for child in node.body:
        if isinstance(child, ast.FunctionDef):
            first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            masked |= set(range(first - 1, child.end_lineno or first))
        elif isinstance(child, ast.AnnAssign | ast.Assign):
            name = ast.unparse(child.target if isinstance(child, ast.AnnAssign) else child.targets[0])
            if not any("#:" in line for line in lines[child.lineno - 2 : child.lineno]):
                raise ValueError(f"{shown.__module__}.{shown.__name__}.{name} has no comment. Say there what it means.")
    text = textwrap.dedent("\n".join(line for number, line in enumerate(lines) if number not in masked))
    text = re.sub(r":mod:`([\w.]+)`", r"\1", text.strip("\n").replace("#:", "#").replace("``", "`"))
    return re.sub(r"\n{3,}", "\n\n", _ROLE.sub(lambda match: match[1].rpartition(".")[2], text))


def _method(shown: type, node: ast.FunctionDef, hook: str) -> str:
    if node.name.startswith("_"):
        return ""
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    notes = ["property"] if "property" in decorators else []
    if inspect.isabstract(shown):
        notes.append("must be written" if "abstractmethod" in decorators else "may be overridden")
    inside = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
    arguments = "" if notes[:1] == ["property"] else f"({re.sub(r'(?<! )=', ' = ', inside)})"
    returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    head = f"- **`{node.name}{arguments}{returned}`**" + (f" ({', '.join(notes)})" if notes else "")
    said = ast.get_docstring(node) or ""
    body = "\n\n".join(_wrapped(_markdown(paragraph, hook)) for paragraph in re.split(r"\n\s*\n", said) if paragraph)
    return f"{head}\n\n{textwrap.indent(body, '  ')}" if body else head


def _comments(owner: type) -> dict[str, str]:
    """The ``#:`` comments above or behind a class's fields, by field."""
    comments: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(owner).splitlines():
        text = line.strip()
        field = re.match(r"(\w+)\s*[:=]", text)
        if text.startswith("#:"):
            above.append(text.removeprefix("#:").strip())
            continue
        if field and above:
            comments[field[1]] = " ".join(above)
        above = []
    return comments


# --- options, example, checks, selection ------------------------------------------------------------------------------


def _options(kind: Kind) -> list[str]:
    if kind is Kind.ATTRIBUTE:
        listed = [(f"`{plugin}/{found.name}`", found.summary) for plugin, found in _bundled(kind)]
        return [
            f"There are none. The {kind.words}s that come with midigpt-core, besides those of the encoder itself:",
            _table(("name", "what it measures"), listed),
        ]
    rows = []
    for plugin, component in _bundled(kind):
        options = ", ".join(f"`{option.name}` = `{json.dumps(option.default)}`" for option in component.options)
        rows.append((f"`{component.name}`", plugin, component.summary, options or "none"))
    return [
        "A component's options are an `attrs` class, named by `options` in the record. Every field has a type, a "
        "default and a `#:` comment, which `midigpt plugins show NAME` prints. Values from a configuration are checked "
        f"against the type before the factory is called ([more]({_INDEX}#options)).",
        f"The {kind.words}s that come with midigpt-core, and their options with defaults:",
        _table(("name", "plugin", "what it does", "options"), rows),
    ]


def _bundled(kind: Kind) -> Iterator[tuple[str, ComponentReport]]:
    for entry in discover(Selection()):
        if entry.is_bundled:
            for component in describe(entry).components:
                if component.kind is kind:
                    yield entry.name, component


def _example(kind: Kind | None) -> list[str]:
    if kind is None:
        folder = EXAMPLES / "callbacks"
        found = [path for path in folder.rglob("*.py") if path.name in ("plugin.py", "callback.py")]
        texts = {
            path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(found, reverse=True)
        }
        intro = "`midigpt --plugins-dir examples/callbacks train …` runs it in a clone without installing it."
    else:
        package = f"midigpt_plugin_{NAMES[kind].replace('-', '_')}"
        wanted = [f"{package}/plugin.py", f"{package}/{kind.setting}.py"]
        written = distribution(NAMES[kind], kind)
        texts = {name: written[name] for name in wanted}
        intro = (
            f"What `midigpt plugins new {NAMES[kind]} --kind {kind}` writes. Besides these two files the distribution "
            f"has a `pyproject.toml`, a README and a test: [examples/{kind}](../../examples/{kind}). In a clone, "
            f"`midigpt --plugins-dir examples/{kind} plugins show {NAMES[kind]}` reads it without installing it."
        )
    return [intro, *(f"`{name}`:\n\n```python\n{text.strip()}\n```" for name, text in texts.items())]


def _checks(kind: Kind) -> list[str]:
    name = NAMES[kind]
    test = distribution(name, kind)[f"tests/test_{name.replace('-', '_')}.py"]
    rows = [_wrapped(f"- {said}", "  ") for said in _promises(f"{kind.setting}s", "check_")]
    component, plugin = (
        "; ".join(said[0].lower() + said[1:].removesuffix(".") for said in _promises("general", prefix))
        for prefix in ("component_", "plugin_")
    )
    parts = [
        f"The scaffold's test runs the kit. Each check is a test of its own:\n\n```python\n{test.strip()}\n```",
        f"For {kind.with_article} the kit checks:\n\n" + "\n".join(rows),
        f"Of every component: {component}. Of the plugin: {plugin}; references survive spawn.",
        "`parametrize_with_checks(name, options={component: {…}})` checks with other options than the defaults.",
    ]
    if kind is Kind.SOURCE:
        parts[-1] += (
            " A source is given a folder of `.mid` files unless you pass paths that it can read: "
            f'`parametrize_with_checks("{name}", paths={{"{name}": [path]}})`.'
        )
    return parts


def _promises(module: str, prefix: str) -> Iterator[str]:
    """The checks of a module of the kit as sentences."""
    path = ROOT / "midigpt_core" / "testing" / f"{module}.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith(prefix):
            name = node.name.removeprefix(prefix).replace("_", " ")
            said = " ".join((ast.get_docstring(node) or "").split())
            yield f"{name[0].upper()}{name[1:]}." + (f" {_markdown(said)}" if said else "")


def _selection(kind: Kind | None) -> list[str]:
    if kind is None:
        return [
            "There is nothing to select: an installed plugin's callbacks take part in every run. `--no-plugin NAME` "
            "leaves them out of one run, `--no-plugins` those of all plugins that do not come with midigpt-core."
        ]
    if kind is Kind.ATTRIBUTE:
        return _attribute_selection(NAMES[kind])
    name, option = NAMES[kind], _first_option(kind)
    flags = f"midigpt train {kind.option} {name}"
    block: dict[str, Any] = {"name": name}
    if option is not None:
        flags += f" --set {shlex.quote(f'{kind.setting}.{option[0]}={option[1]}')}"
        block[option[0]] = option[1]
    if kind is Kind.METRIC:
        return [
            "After `pip install` nothing has to be registered: `midigpt evaluate --music`, and runs with the setting "
            "`music`, measure every metric of every active plugin "
            f"([what the bundled ones mean]({_UP}evaluation.md)). To "
            "measure some only, on the command line (`--metric` can be repeated), or in a configuration:",
            f"```\nmidigpt evaluate --music {kind.option} {name} …\n```",
            f"```json\n{json.dumps({'music': 1, 'metrics': [block]})}\n```",
            f"On the command line a block sets options too: `{kind.option} '{json.dumps(block)}'`. If two plugins have "
            f"a metric of this name, the user writes `PLUGIN/{name}` ([more]({_INDEX}#names)).",
        ]
    parts = [
        "After `pip install` nothing has to be registered. On the command line, or in a configuration:",
        f"```\n{flags} …\n```",
        f"```json\n{json.dumps({kind.setting: block if len(block) > 1 else name})}\n```",
        f"If two plugins have {kind.with_article} of this name, the user writes "
        f"`PLUGIN/{name}` ([more]({_INDEX}#names)).",
    ]
    if kind is Kind.SOURCE:
        parts[-1] += f" `--plugin {name}` also selects the source, if the plugin has no other."
    if kind is Kind.CHECKPOINT_FORMAT:
        parts[-1] += (
            " A format is not selected for reading: it follows from the file. `midigpt convert IN OUT` writes the "
            "format of the suffix of `OUT`."
        )
    if kind is Kind.ADAPTER:
        parts[-1] += (
            " An adapter needs a base: `--init-from BUNDLE`, or the setting `init_from`. Its file stores the name and "
            f"options of its component: nothing need be selected to use it ([adapters]({_UP}adapters.md)), but your "
            "plugin must be installed. The run's bundle needs no plugin."
        )
    if kind is Kind.ENCODER or kind is Kind.ARCHITECTURE:
        parts[-1] += (
            f" A bundle stores the {kind.words}'s name and options, so your plugin must be installed to load the "
            "bundle, and nothing need be selected."
        )
    return parts


def _attribute_selection(name: str) -> list[str]:
    block = {"encoder": {"name": "midigpt", "config": "yellow", "attributes": [name]}}
    return [
        "After `pip install` nothing has to be registered. The encoder takes attribute controls by name, besides those "
        "of its preset. On the command line, or in a configuration:",
        f"```\nmidigpt train --set 'encoder.attributes=[\"{name}\"]' …\n```",
        f"```json\n{json.dumps(block)}\n```",
        "A JSON file of the encoder names them under `attributes`. Their tokens follow the encoder's vocabulary, "
        "so all other tokens keep their ids.",
        "A bundle stores the name of the attribute, its distribution and its levels. With the plugin installed, the "
        f"attribute is used like those of the encoder: `midigpt generate --attribute {name}/{name}=3 …`, `GET /info`, "
        "`evaluate --music`. Without it the bundle still generates, a warning names the distribution, and the "
        "attribute cannot be asked for. If two plugins have an attribute control of this name, the user writes "
        f"`PLUGIN/{name}` ([more]({_INDEX}#names)).",
    ]


def _first_option(kind: Kind) -> tuple[str, Any] | None:
    """The first option of the example, and its default."""
    package = f"midigpt_plugin_{NAMES[kind].replace('-', '_')}"
    tree = ast.parse(distribution(NAMES[kind], kind)[f"{package}/{kind.setting}.py"])
    (options,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Options")
    for node in options.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            value = node.value
            if isinstance(value, ast.Call):
                (value,) = (keyword.value for keyword in value.keywords if keyword.arg == "default")
            return node.target.id, ast.literal_eval(value)
    return None


_ERRORS = (
    "Errors for users are subclasses of `midigpt_core.errors.MidigptError`: one sentence, no traceback, exit code 2. "
    f"Every other exception is a bug, and the message names your component ([more]({_INDEX}#errors))."
)


# --- from docstrings to Markdown --------------------------------------------------------------------------------------


def _markdown(text: str, hook: str = "") -> str:
    """A paragraph of a docstring as one line: roles become links to the class on its page, or code; pages, links."""
    text = " ".join(text.split())
    text = re.sub(r"``(.+?)``", lambda match: f"`{match[1]}`", text)
    text = re.sub(r"docs/plugins/(([\w-]+)\.\w+)", r"[\2](\1)", text)
    return _ROLE.sub(lambda match: _linked(match[1], hook), text)


def _wrapped(text: str, indent: str = "") -> str:
    """A paragraph in lines of the width that other pages have; everything else as it is."""
    if "\n" in text or text.startswith(("#", "<")):
        return text
    # Code and links are not broken.
    kept = re.sub(r"`[^`]*`", lambda match: match[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(kept, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def _linked(name: str, hook: str) -> str:
    parts = name.split(".")
    shown = next((found for part in reversed(parts[-2:]) if (found := _class_named(part)) is not None), None)
    label = ".".join(parts[parts.index(shown.__name__) :]) if shown is not None else parts[-1]
    if shown is None:
        return f"`{name if name.startswith('midigpt_core') and name.count('.') == 1 else label}`"
    home = homes().get(shown, "")
    if not hook or not home:
        return f"`{label}`"
    return f"[`{label}`]({'' if home == hook else page_name(home)}#{shown.__name__.lower()})"


def _listed(words: list[str]) -> str:
    return " and ".join(words)


def _parsed(subject: Any, kind: type[_Node]) -> _Node:
    (node,) = ast.parse(inspect.getsource(subject)).body
    if not isinstance(node, kind):
        raise TypeError(f"{subject} is no {kind.__name__}")
    return node


if __name__ == "__main__":
    raise SystemExit(main())
