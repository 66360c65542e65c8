"""Reads the data in a pickle without executing it.

A pickle is a program. Python's own unpickler runs it: it imports what the file names and calls it. Here the program is
*interpreted as data*: the thirty-odd opcodes that ``torch.save`` and TorchScript emit build dicts, lists, tuples and
numbers; a named function or class becomes a :class:`Global`, a call of one is handed to the caller of :func:`read`, who
knows a few by name, and every other opcode is refused. Nothing is imported, called or constructed by name.

Source of the opcodes: the standard library's ``pickletools``.
"""

from __future__ import annotations

import pickletools
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

#: A 48-layer GPT-2 with its encoder and provenance needs 0.1 MiB.
MAX_PICKLE_BYTES = 1 << 20
#: Such a bundle has some 19,000, with the state of its optimiser 71,000.
_MAX_INSTRUCTIONS = 250_000
#: Values and characters of text written out in full, a value once for every place that refers to it. A pickle can name
#: one list a billion times in 500 bytes; walking or printing the result would never end.
_MAX_EXPANDED = 4 << 20

_LITERALS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLE_SIZES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NO_EFFECT = frozenset({"PROTO", "FRAME"})


class RefusedPickleError(ValueError):
    """A pickle that is damaged, or contains more than plain data."""


@frozen
class Global:
    """The name of a function or class, never the thing itself."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@define(eq=False)
class Instance:
    """The state of an object whose class is not known here."""

    cls: Global
    state: object = None


def read(
    data: bytes, *, call: Callable[[Global, tuple[Any, ...]], object], persistent: Callable[[object], object]
) -> object:
    """The value that the pickle describes.

    ``call`` gives the value of ``REDUCE`` and ``NEWOBJ`` (a named callable with its arguments), ``persistent`` that of
    a persistent id; both raise :class:`RefusedPickleError` for what they do not know. Values may share others, but none
    contains itself, and written out in full all of them take at most some million values and characters. Raises
    :class:`RefusedPickleError`.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise RefusedPickleError(f"its description is {len(data)} bytes long, the limit is {MAX_PICKLE_BYTES}")
    machine = _Machine(call, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if opcode.name == "STOP":
                value = machine.pop()
                _check_expanded(value)
                return value
            if count == _MAX_INSTRUCTIONS:
                raise RefusedPickleError(f"its description has more than {_MAX_INSTRUCTIONS} instructions")
            machine.step(opcode.name, argument)
    except (IndexError, KeyError, UnicodeError) as error:
        raise RefusedPickleError("its description is damaged") from error
    except RefusedPickleError:
        raise
    except ValueError as error:  # of genops: unknown opcode, argument cut short
        raise RefusedPickleError(f"its description is damaged ({error})") from error
    raise RefusedPickleError("its description has no end")


def _check_expanded(root: object) -> None:
    """Refuse a value that contains itself, or is too large written out in full; takes a step per object, not place."""
    sizes: dict[int, int] = {}
    entered: set[int] = set()
    waiting = [root]
    while waiting:
        value = waiting[-1]
        identity = id(value)
        inner = () if identity in sizes else _inner(value)
        if not inner:
            waiting.pop()
        elif identity in entered:  # the second time, all that it contains is known
            waiting.pop()
            entered.discard(identity)
            sizes[identity] = 1 + sum(sizes.get(id(item)) or _size(item) for item in inner)
            if sizes[identity] > _MAX_EXPANDED:
                raise RefusedPickleError(
                    f"its values refer to one another so often that they expand to more than {_MAX_EXPANDED}"
                )
        else:
            entered.add(identity)
            for item in inner:
                if id(item) in entered:
                    raise RefusedPickleError("one of its values contains itself")
                if type(item) in _CONTAINERS and id(item) not in sizes:
                    waiting.append(item)


def _inner(value: object) -> Collection[object]:
    if type(value) is dict:
        return [*value, *value.values()]
    if isinstance(value, Instance):
        return (value.cls, value.state)
    return value if isinstance(value, (list, tuple)) else ()


def _size(value: object) -> int:
    """The size of a value that contains no other."""
    return 1 + (len(value) if isinstance(value, str) else 0)


class _Machine:
    """The pickle machine: a stack, the stacks below its marks, and a memo."""

    def __init__(
        self, call: Callable[[Global, tuple[Any, ...]], object], persistent: Callable[[object], object]
    ) -> None:
        self._call = call
        self._persistent = persistent
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        # A dict: an index far out of range costs nothing, where the C unpickler's array would grow to it.
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self._stack.pop()

    def step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _TUPLE_SIZES:
            self._stack.append(tuple(self._take(_TUPLE_SIZES[name])))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in _NO_EFFECT:
            raise RefusedPickleError(f"it uses the pickle instruction {name}, which plain data does not need")

    def _take(self, count: int) -> list[Any]:
        if count > len(self._stack):
            raise IndexError(count)
        taken = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return taken

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def empty_list(self, _: Any) -> None:
        self._stack.append([])

    def tuple_since_mark(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append(tuple(items))

    def append(self, _: Any) -> None:
        self._extend(self._take(1))

    def appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise RefusedPickleError("it appends to something that is not a list")
        target.extend(items)

    def set_item(self, _: Any) -> None:
        self._update(self._take(2))

    def set_items(self, _: Any) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise RefusedPickleError("it sets an item of something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise RefusedPickleError(f"it has a dict key of type {type(key).__name__}")
            target[key] = value

    def name_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(Global(module, name))

    def stack_global(self, _: Any) -> None:
        module, name = self._take(2)
        if type(module) is not str or type(name) is not str:
            raise RefusedPickleError("it names a function by something that is not text")
        self._stack.append(Global(module, name))

    def persistent_id(self, _: Any) -> None:
        self._stack.append(self._persistent(self.pop()))

    def call(self, _: Any) -> None:
        target, arguments = self._take(2)
        if type(target) is not Global or type(arguments) is not tuple:
            raise RefusedPickleError("it calls something that has no name")
        self._stack.append(self._call(target, arguments))

    def build(self, _: Any) -> None:
        state = self.pop()
        target = self._stack[-1]
        if isinstance(target, Instance):
            target.state = state
        elif type(target) is not dict:  # an OrderedDict brings attributes (a state dict's versions): not needed
            raise RefusedPickleError("it sets the state of something that has none")


_CONTAINERS = (dict, list, tuple, Instance)
_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "EMPTY_DICT": _Machine.empty_dict,
    "EMPTY_LIST": _Machine.empty_list,
    "TUPLE": _Machine.tuple_since_mark,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.name_global,
    "STACK_GLOBAL": _Machine.stack_global,
    "BINPERSID": _Machine.persistent_id,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
}
