"""Why a row has no music: one byte per piece, one name per reason in every report.

Codes below 100 are the MIDI reader's own errors (:data:`midigpt_core.score.reading.READ_ERRORS`), the codes in this
module are for failures around it. All reports list reasons in the same order: ``kept``, the others of this table by
code, then by name the reasons for which the source dropped rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from midigpt_core.score.reading import READ_ERRORS
from midigpt_core.system.signals import linux_name

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = TypeVar("Value")

#: The row became a piece.
KEPT = 0
#: The source has no bytes for the row.
NULL_MUSIC = 100
#: Parsing exceeded its time.
TIMEOUT = 101
#: Parsing ran out of the memory it may use.
MEMORY = 102
#: The parser's process ended by itself.
EXITED = 103
# As a shell reports it: 128 + signal.
_SIGNALLED = 128

_NAMES = {KEPT: "kept", NULL_MUSIC: "null_music", TIMEOUT: "timeout", MEMORY: "memory", EXITED: "parser_exited"}


def crashed(signal_number: int) -> int:
    """The status of a row on which the parser died by a signal; the number is Linux's on every system."""
    return _SIGNALLED + signal_number


def status_name(status: int) -> str:
    """``"kept"``, ``"crashed_sigsegv"``, ``"timeout"`` or the name of a reader's error."""
    if status in _NAMES:
        return _NAMES[status]
    if status in READ_ERRORS:
        return READ_ERRORS[status].name
    if status > _SIGNALLED:
        number = status - _SIGNALLED
        return f"crashed_{(linux_name(number) or f'signal_{number}').lower()}"
    return f"status_{status}"


def in_order(by_reason: Mapping[str, Value]) -> dict[str, Value]:
    """A mapping by reason, in the order of every report."""
    return {reason: by_reason[reason] for reason in sorted(by_reason, key=lambda name: (_PLACES.get(name, 256), name))}


_PLACES = {status_name(code): code for code in range(256)}
