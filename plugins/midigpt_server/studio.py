"""The studio: a page at ``/`` that makes music with the models of the server, and the endpoints that only it needs.

``POST /studio/read`` turns a MIDI file into a score, ``POST /studio/export`` puts a score back into the file that it
was read from. The page's files are in ``studio_page``; they load nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, StrictStr

from midigpt_core.errors import DataError
from midigpt_core.score import Score
from midigpt_core.score.splicing import SpliceError, splice
from midigpt_core.score.track_names import track_names
from midigpt_core.terminal import printable
from midigpt_server.guards import EXPORT
from midigpt_server.refusals import Refused, check_values
from midigpt_server.scores import parse_score, score_to_json

if TYPE_CHECKING:
    from fastapi import FastAPI

    from midigpt_server.scores import Limits

_PAGE = Path(__file__).parent / "studio_page"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: Scripts, styles and pictures of this server alone, and no script in the page's text.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Asked for again each time: a newer server has newer files.
    "Cache-Control": "no-cache",
}
_LONGEST_NAME = 200


class ExportBody(BaseModel):
    """The body of ``POST /studio/export``."""

    score: dict[str, Any]
    #: Base64 of the MIDI file that the score was read from; null: the song began empty.
    like: StrictStr | None = None


def add_studio(app: FastAPI, limits: Limits) -> None:
    """Add the page and its endpoints."""
    files = {path.name: path.read_bytes() for path in _PAGE.iterdir() if path.suffix in _MEDIA_TYPES}
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        return _file("index.html", files)

    @router.get("/studio/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        if name not in files:
            raise Refused(404, f"the studio has no file {name[:80]!r}.")
        return _file(name, files)

    @router.post("/studio/read")
    async def read(request: Request, name: str = "the file") -> dict[str, Any]:
        """A MIDI file, the whole body, as a score."""
        content = await request.body()
        return await asyncio.to_thread(_read, content, printable(name[:_LONGEST_NAME], None), limits)

    @router.post(EXPORT)
    async def export(body: ExportBody) -> dict[str, Any]:
        """A score as a MIDI file; what it was read from is kept but for the notes that changed."""
        return await asyncio.to_thread(_export, body, limits)

    app.include_router(router)


def _file(name: str, files: dict[str, bytes]) -> Response:
    return Response(files[name], media_type=_MEDIA_TYPES[Path(name).suffix], headers=_HEADERS)


def _read(content: bytes, name: str, limits: Limits) -> dict[str, Any]:
    try:
        score = Score.from_bytes(content, name)
        names = track_names(content)
    except DataError as error:
        raise Refused(422, str(error)) from error
    columns = score.columns
    for what, count, most in (
        ("tracks", len(columns.track_program), limits.tracks),
        ("bars", len(columns.bar_length), limits.bars),
        ("notes", len(columns.note_pitch), limits.notes),
    ):
        if count > most:
            raise Refused(422, f"{name} has {count:,} {what}. Open a file with at most {most:,}.")
    signatures = zip(columns.bar_numerator.tolist(), columns.bar_denominator.tolist(), strict=True)
    return {
        "score": score_to_json(score),
        "signatures": [list(signature) for signature in signatures],
        # In quarters. A bar that the next time signature cuts short is shorter than its own says.
        "bar_quarters": columns.bar_length.tolist(),
        "track_names": names,
    }


def _export(body: ExportBody, limits: Limits) -> dict[str, Any]:
    check_values(body.score, "score")
    score = parse_score(body.score, limits).score
    remarks: tuple[str, ...] = ()
    try:
        if body.like is None:
            content = score.to_bytes()
        else:
            content, remarks = _like(score, _decoded(body.like))
    except DataError as error:
        raise Refused(422, str(error)) from error
    return {"midi": base64.b64encode(content).decode("ascii"), "remarks": list(remarks)}


def _like(score: Score, original: bytes) -> tuple[bytes, tuple[str, ...]]:
    try:
        spliced = splice(score.columns, original, "the opened file", new_instruments=True)
    except SpliceError as error:
        reason = (
            f"The opened file cannot be kept as it is ({error.reason}): this one has the song's notes, instruments, "
            "time signatures and first tempo only."
        )
        return score.to_bytes(), (reason,)
    return spliced.content, spliced.remarks


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # also for letters that are not ASCII
        raise Refused(422, "like: expected Base64 of the MIDI file that the score was read from.") from error
