"""The public package midigpt 0.4.2, run as a black box by its own interpreter.

A script of ``bench/baseline`` prepares its work once, then does it each time a line arrives; so that its imports do not
count, and it can take turns with ours.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bench.measure import Turn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

SCRIPTS = Path(__file__).with_name("baseline")


class BaselineError(Exception):
    """A baseline script that ended; its own message stands above."""


class TurnProcess:
    """A process that does its work each time a line arrives; calling it is a turn. Use as a context."""

    def __init__(
        self, name: str, command: Sequence[str | Path], *, cache: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        """``cache`` becomes its MIDIGPT_CACHE, ``variables`` are added to its environment; errors contain ``name``."""
        self._name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "MIDIGPT_CACHE": str(cache), **(variables or {})},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe(self._process.stdin).close()
        self._process.wait()

    def __call__(self) -> Turn:
        """Raises :class:`BaselineError` if the script ended."""
        stdin, stdout = self._pipe(self._process.stdin), self._pipe(self._process.stdout)
        try:
            stdin.write("go\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer says so below
        answer = stdout.readline()
        if not answer:
            raise BaselineError(f"{self._name} ended with code {self._process.wait()}.")
        return Turn(**json.loads(answer))

    def _pipe(self, pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


class BaselineProcess(TurnProcess):
    """A baseline script with its arguments."""

    def __init__(self, python: Path, script: str, *arguments: object, cache: Path) -> None:
        super().__init__(f"bench/baseline/{script}", [python, SCRIPTS / script, *map(str, arguments)], cache=cache)
