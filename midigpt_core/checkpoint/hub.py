"""Bundles on the Hugging Face Hub: found by name, fetched into the shared cache, pushed as a folder for transformers.

A repository holds one model as a folder (``config.json``, ``model.safetensors``, ``encoder.json``) or several as files
named ``<name>-final.safetensors`` and ``<name>-step<N>.safetensors``; a name means the final one, else the highest
step, as in midigpt 0.4.2. Transport, tokens and cache are huggingface_hub's. Fetched files are treated as hostile, like
all others: reading them runs nothing.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen
from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import HFValidationError

from midigpt_core import __version__, terminal
from midigpt_core.checkpoint.bundles import load_checkpoint, save_bundle
from midigpt_core.errors import CheckpointError, nearest
from midigpt_core.huggingface import NO_ANSWER, api, endpoint, explained, of_the_hub
from midigpt_core.paths import usable_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from midigpt_core.contracts import Bundle

#: Where a name without a repository is looked up.
DEFAULT_REPO = "Metacreation/MIDI-GPT"

#: The files that a repository of one model must contain, and that are fetched.
_FOLDER_FILES = ("config.json", "encoder.json", "model.safetensors")
_CARD = "README.md"
_NAMED = re.compile(r"(?P<name>[^/]+)-(?:final|step(?P<step>\d{1,12}))(?P<suffix>\.safetensors|\.pt)")
_SUFFIXES = (".safetensors", ".pt")
_TIMEOUT_SECONDS = 10.0
#: Endings of files: what ends so is not looked up on the Hub.
_FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".mid", ".midi", ".kar", ".json", ".zip")

_log = terminal.logger(__name__)


@frozen
class _Place:
    """What is looked for, and where."""

    repo: str
    #: The model's name within the repository; None: the repository is the model.
    name: str | None
    revision: str | None = None
    cache_dir: str | os.PathLike[str] | None = None


def from_pretrained(
    name: str | os.PathLike[str],
    *,
    hf_repo: str = DEFAULT_REPO,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Bundle:
    """The bundle called ``name``, fetched once and then read from the cache (:func:`fetch` takes the same names).

    Raises :class:`midigpt_core.errors.CheckpointError` for a name that cannot be found and a file that cannot be used.
    """
    path = fetch(
        name,
        hf_repo=hf_repo,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    return load_checkpoint(path, device, dtype)


def fetch(
    name: str | os.PathLike[str],
    *,
    hf_repo: str = DEFAULT_REPO,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """The path of a bundle: ``name`` itself if it exists, else a file or folder in huggingface_hub's cache.

    ``yellow_medium`` is a model in ``hf_repo``, ``owner/repo`` a repository that is one model, ``owner/repo/name`` one
    of several there. ``revision`` is a branch, tag or commit; ``token`` defaults to the one of ``HF_TOKEN`` or
    ``hf auth login``. Where the Hub does not answer or refuses, a cached copy is used with a warning; only
    ``local_files_only`` or ``HF_HUB_OFFLINE=1`` ask for that. Raises :class:`midigpt_core.errors.CheckpointError`.
    """
    path = usable_path(name, what="bundle", error=CheckpointError)
    if path.exists():
        return path
    place = _place(os.fspath(name), hf_repo, revision, cache_dir)
    cause: BaseException | None = None
    if not local_files_only:
        try:
            return _download(place, token, force_download)
        except NO_ANSWER as error:
            cause = error
    cached = _cached(place)
    if cached is None:
        raise CheckpointError(explained(place.repo, place.revision, cause)) from cause
    if cause is not None:
        _log.warning("%s Using the copy in the cache, %s.", explained(place.repo, place.revision, cause), cached)
    return cached


def bundle_path(name: str | os.PathLike[str]) -> Path:
    """The path of a bundle that a user named: ``name`` itself if it exists or looks like a file, else that of a model
    on the Hub (:func:`fetch`). Raises :class:`midigpt_core.errors.CheckpointError`."""
    path = usable_path(name, what="bundle", error=CheckpointError)
    text = os.fspath(name)
    if path.exists() or text.lower().endswith(_FILES) or not _is_name(text) or Path(text.split("/")[0]).is_dir():
        return path
    try:
        return fetch(name)
    except CheckpointError as error:
        raise CheckpointError(f"{text}: there is no such file or folder here; on the Hub: {error}") from error


def save_pretrained(
    bundle: Bundle, save_directory: str | os.PathLike[str], *, push_to_hub: bool = False, repo_id: str | None = None
) -> Path:
    """Write ``bundle`` as a folder that transformers (``AutoModelForCausalLM``) and :func:`from_pretrained` read.

    The folder must not exist, or must be empty. With ``push_to_hub`` it is pushed to ``repo_id``, by default named
    after the folder.
    """
    folder = save_bundle(bundle, save_directory, "huggingface")
    if push_to_hub:
        _push(folder, repo_id or folder.name)
    return folder


def push_to_hub(
    bundle: Bundle,
    repo_id: str,
    *,
    commit_message: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """Push ``bundle`` to ``repo_id`` as the folder of :func:`save_pretrained`; returns the commit's address. The
    repository is created if it does not exist.

    An existing model card is kept, because someone may have edited it. Raises
    :class:`midigpt_core.errors.CheckpointError` where the Hub does not answer or refuses.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_bundle(bundle, Path(temporary) / "model", "huggingface")
        return _push(
            folder,
            repo_id,
            commit_message=commit_message,
            private=private,
            token=token,
            revision=revision,
            create_pr=create_pr,
        )


def _push(
    folder: Path,
    repo_id: str,
    *,
    commit_message: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    hub = api(token)
    try:
        with of_the_hub():
            repo = hub.create_repo(repo_id, private=private, exist_ok=True).repo_id
            has_card = hub.file_exists(repo, _CARD, revision=revision)
            commit = hub.upload_folder(
                repo_id=repo,
                folder_path=folder,
                commit_message=commit_message or "Upload a MIDI-GPT model",
                revision=revision,
                create_pr=create_pr,
                ignore_patterns=[_CARD] if has_card else None,
            )
    except NO_ANSWER as error:
        raise CheckpointError(explained(repo_id, revision, error)) from error
    except HFValidationError as error:
        raise CheckpointError(f"{repo_id!r} is no name of a repository. Write it as owner/name.") from error
    if has_card:
        _log.warning("%s keeps its %s; the new one was not pushed.", repo, _CARD)
    return str(commit.commit_url)


def _is_name(text: str) -> bool:
    parts = text.split("/")
    return len(parts) <= 3 and all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", part) for part in parts)


def _place(name: str, hf_repo: str, revision: str | None, cache_dir: str | os.PathLike[str] | None) -> _Place:
    parts = name.split("/")
    if not _is_name(name):
        raise CheckpointError(
            f"{name}: there is no such file or folder, and it is no name on the Hub: those are NAME, OWNER/REPOSITORY "
            "and OWNER/REPOSITORY/NAME. Check the path."
        )
    if len(parts) == 1:
        return _Place(hf_repo, name, revision, cache_dir)
    return _Place("/".join(parts[:2]), parts[2] if len(parts) == 3 else None, revision, cache_dir)


def _download(place: _Place, token: str | bool | None, force_download: bool) -> Path:
    with of_the_hub():
        found = api(token).model_info(place.repo, revision=place.revision, timeout=_TIMEOUT_SECONDS)
        names = [item.rfilename for item in found.siblings or ()]
    chosen = choose(names, place.name, place.repo)
    how: dict[str, Any] = {
        "revision": place.revision,
        "cache_dir": place.cache_dir,
        "token": token,
        "force_download": force_download,
        "endpoint": endpoint(),
        "library_name": "midigpt-core",
        "library_version": __version__,
    }
    if chosen is None:
        return Path(str(snapshot_download(place.repo, allow_patterns=[*_FOLDER_FILES, _CARD], **how)))
    if _CARD in names:
        # It may state the licence of the models.
        hf_hub_download(place.repo, _CARD, **how)
    return Path(str(hf_hub_download(place.repo, chosen, **how)))


def choose(files: Iterable[str], name: str | None, repo: str) -> str | None:
    """The file of a repository's ``files`` that ``name`` means; None: the repository as a folder.

    ``<name>-final`` comes before every ``<name>-step<N>``, a higher step before a lower one, safetensors before pt.
    Raises :class:`midigpt_core.errors.CheckpointError` with the names that are available.
    """
    files = list(files)
    if name is None and set(_FOLDER_FILES) <= set(files):
        return None
    best: dict[str, tuple[float, int, str]] = {}
    for file in files:
        match = _NAMED.fullmatch(file)
        if match is not None:
            step = float("inf") if match["step"] is None else int(match["step"])
            rank = (step, -_SUFFIXES.index(match["suffix"]), file)
            best[match["name"]] = max(rank, best.get(match["name"], rank))
    if name in files and name is not None and name.endswith(_SUFFIXES):
        return name
    if name is None and len(best) == 1:
        name = next(iter(best))
    if name in best and name is not None:
        return best[name][2]
    names = ", ".join(terminal.printable(known, 60) for known in sorted(best)[:20]) or "none"
    if name is None:
        raise CheckpointError(
            f"{repo} is no folder of one model; it holds the models: {names}. Ask for one as {repo}/NAME."
        )
    raise CheckpointError(f"{repo} has no model {name!r}.{nearest(name, best)} It holds: {names}.")


def _cached(place: _Place) -> Path | None:
    """The newest copy in the cache that contains the requested model (layout: huggingface_hub's guide to its cache)."""
    root = Path(place.cache_dir or constants.HF_HUB_CACHE).expanduser() / f"models--{place.repo.replace('/', '--')}"
    for snapshot in _snapshots(root, place.revision):
        files = [item.relative_to(snapshot).as_posix() for item in snapshot.rglob("*") if item.is_file()]
        try:
            chosen = choose(files, place.name, place.repo)
        except CheckpointError:  # this copy does not contain the model
            continue
        return snapshot if chosen is None else snapshot / chosen
    return None


def _snapshots(root: Path, revision: str | None) -> list[Path]:
    """Folders of cached commits: those that ``revision`` means, or all, ``main``'s first, then the newest."""
    named = root / "refs" / (revision or constants.DEFAULT_REVISION)
    commit = named.read_text(encoding="utf-8").strip() if named.is_file() else revision
    folders = [item for item in (root / "snapshots").glob("*") if item.is_dir()]
    if revision is not None:
        return [item for item in folders if item.name == commit]
    return sorted(folders, key=lambda item: (item.name == commit, item.stat().st_mtime), reverse=True)
