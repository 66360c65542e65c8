"""Finds the files that an address on the Hub leads to, pinned to a commit: on the Hub, or in huggingface_hub's cache.

An address is ``hf://datasets/OWNER/REPOSITORY[@REVISION]/PATH``, where the path is a file, a folder or a pattern.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import unquote

from attrs import frozen
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

from midigpt_core import terminal
from midigpt_core.corpus.cache import cache_root
from midigpt_core.errors import CorpusError, DataError
from midigpt_core.files import WriteError, write_text
from midigpt_core.huggingface import NO_ANSWER, api, endpoint, explained, of_the_hub
from midigpt_core.paths import matches_pattern

_ADDRESS = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.*))?", re.DOTALL)
_MAGIC = re.compile(r"[*?\[]")
_TIMEOUT_SECONDS = 30.0
_SUFFIX = ".parquet"

_log = terminal.logger(__name__)


@frozen
class HubFile:
    """A file of a data set on the Hub, at a commit."""

    repo: str
    commit: str
    path: str
    #: Git LFS's sha256 of its bytes, or git's hash of the blob: what its copy in the cache is called.
    content_id: str
    #: In bytes, None if it is not known.
    size: int | None

    @property
    def blob(self) -> Path:
        """Its bytes in huggingface_hub's cache, which all commits share."""
        return _cache_folder(self.repo) / "blobs" / self.content_id

    def __str__(self) -> str:
        return f"hf://datasets/{self.repo}@{self.commit}/{self.path}"


def list_files(address: str) -> list[HubFile]:
    """The parquet files that ``address`` leads to, sorted by path.

    Where the Hub does not answer, or ``HF_HUB_OFFLINE`` is set, those in the cache. Raises :class:`DataError`.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise DataError(
            f"{address}: is no address of a data set. Write hf://datasets/OWNER/REPOSITORY/PATH, with @REVISION behind "
            "the repository for another revision than main."
        )
    repo, path = match["repo"], (match["path"] or "").strip("/")
    revision = unquote(match["revision"]) if match["revision"] else None
    try:
        files = _on_the_hub(repo, revision)
        _remember(repo, revision, files)
    except NO_ANSWER as error:
        files = _remembered(repo, revision) or _in_the_cache(repo, revision)
        if not any(_leads_to(path, file.path) for file in files):
            raise DataError(explained(repo, revision, error, "data set")) from error
        if not isinstance(error, OfflineModeIsEnabled):
            said = explained(repo, revision, error, "data set")
            _log.warning("%s Using what is known of %s from earlier.", said, repo)
    except HFValidationError as error:
        raise DataError(f"{address}: {repo!r} is no name of a repository. Write it as OWNER/REPOSITORY.") from error
    found = sorted((file for file in files if _leads_to(path, file.path)), key=lambda file: file.path)
    if not found:
        raise DataError(
            f"{address}: {repo} has no {_SUFFIX} file there. Look at {endpoint()}/datasets/{repo}/tree/"
            f"{revision or constants.DEFAULT_REVISION}, and quote patterns in the shell."
        )
    return found


def _leads_to(wanted: str, path: str) -> bool:
    if _MAGIC.search(wanted):
        return path.endswith(_SUFFIX) and matches_pattern(tuple(path.split("/")), tuple(wanted.split("/")))
    return path == wanted or (path.endswith(_SUFFIX) and (not wanted or path.startswith(f"{wanted}/")))


def _on_the_hub(repo: str, revision: str | None) -> list[HubFile]:
    with of_the_hub():
        found = api().dataset_info(repo, revision=revision, timeout=_TIMEOUT_SECONDS, files_metadata=True)
        commit = str(found.sha)
        return [
            HubFile(repo, commit, item.rfilename, item.lfs.sha256 if item.lfs else str(item.blob_id), item.size)
            for item in found.siblings or ()
        ]


def _remember(repo: str, revision: str | None, files: list[HubFile]) -> None:
    """Store the list for runs without the Hub: huggingface_hub's cache does not say which files it lacks."""
    kept = [[file.path, file.content_id, file.size] for file in files if file.path.endswith(_SUFFIX)]
    content = json.dumps({"commit": files[0].commit if files else "", "files": kept})
    # It only helps later runs. A cache that cannot be written is reported when the corpus is written.
    with contextlib.suppress(WriteError, CorpusError):
        write_text(_memory(repo, revision), content)


def _remembered(repo: str, revision: str | None) -> list[HubFile]:
    try:
        stored = json.loads(_memory(repo, revision).read_text(encoding="utf-8"))
        return [
            HubFile(repo, str(stored["commit"]), str(path), str(content_id), size)
            for path, content_id, size in stored["files"]
        ]
    except (OSError, ValueError, KeyError, TypeError, CorpusError):
        return []


def _memory(repo: str, revision: str | None) -> Path:
    key = hashlib.sha256(json.dumps([endpoint(), repo, revision]).encode()).hexdigest()
    return cache_root() / "hub" / f"{key[:32]}.json"


def _in_the_cache(repo: str, revision: str | None) -> list[HubFile]:
    """What huggingface_hub's cache has of a revision."""
    root = _cache_folder(repo)
    named = root / "refs" / (revision or constants.DEFAULT_REVISION)
    commit = named.read_text(encoding="utf-8").strip() if named.is_file() else revision
    snapshot = root / "snapshots" / (commit or "")
    if not commit or not snapshot.is_dir():
        return []
    files = [(path.relative_to(snapshot).as_posix(), path.resolve()) for path in snapshot.rglob("*") if path.is_file()]
    return [HubFile(repo, commit, name, blob.name, blob.stat().st_size) for name, blob in files]


def _cache_folder(repo: str) -> Path:
    return Path(constants.HF_HUB_CACHE).expanduser() / f"datasets--{repo.replace('/', '--')}"
