"""What the Hugging Face Hub answers, in words: for bundles and for data sets alike. Imports huggingface_hub."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from midigpt_core import __version__, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a repository contains.
RepoKind = Literal["model", "data set"]


class ForeignAnswerError(Exception):
    """An answer that is not the Hub's, such as the HTML of a login page."""


#: What a request raises: no answer (errors of the HTTP library, whose base class huggingface_hub's own error extends),
#: an answer that is an error or not the Hub's, no token, offline mode.
NO_ANSWER: tuple[type[BaseException], ...] = (HfHubHTTPError.__bases__[0], OSError, ForeignAnswerError)

#: Errors that the cache's folder causes, not the network.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def endpoint() -> str:
    """``HF_ENDPOINT`` as it is now; huggingface_hub itself reads it once."""
    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")


def api(token: str | bool | None = None) -> HfApi:
    return HfApi(endpoint=endpoint(), token=token, library_name="midigpt-core", library_version=__version__)


@contextmanager
def of_the_hub() -> Iterator[None]:
    """Turn exceptions of huggingface_hub for an answer that is not JSON, or has another structure, into
    :class:`ForeignAnswerError`."""
    try:
        yield
    except NO_ANSWER:  # some are ValueErrors too
        raise
    except HFValidationError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ForeignAnswerError from error


def explained(repo: str, revision: str | None, cause: BaseException | None, kind: RepoKind = "model") -> str:
    """Why the Hub did not give something, and what to do. ``cause`` None: it was not asked."""
    hub = endpoint()
    match cause:
        case None:
            return f"{repo}: no copy is in the cache. Leave local_files_only out to fetch it."
        case OfflineModeIsEnabled():
            return f"{repo}: HF_HUB_OFFLINE is set. Unset it to fetch what is not in the cache."
        case GatedRepoError():
            page = f"{hub}/{'datasets/' if kind == 'data set' else ''}{repo}"
            return (
                f"{repo} is gated: 1. accept its terms at {page}, 2. make a token that may read it at "
                f"{hub}/settings/tokens, 3. log in with 'hf auth login' or set HF_TOKEN, then run again."
            )
        case RevisionNotFoundError():
            return f"{repo} has no revision {revision!r}. Check the name of the branch, tag or commit."
        case RepositoryNotFoundError():
            return (
                f"{hub} shows no {kind} {repo!r}. Check the name; for a private one log in with 'hf auth login' or set "
                "HF_TOKEN."
            )
        case HfHubHTTPError() if cause.response.status_code in (401, 403):
            return (
                f"{hub} refuses {repo} with this token. Log in with 'hf auth login', or set HF_TOKEN to one with "
                "enough rights."
            )
        case HfHubHTTPError():
            return f"{hub} answers {cause.response.status_code} for {repo}. Try again later."
        case ForeignAnswerError():
            return (
                f"{hub} does not answer as the Hub does: a login page or a proxy may be in between. Check the network "
                "and try again."
            )
        case OSError() if cause.errno in _OF_THE_DISK:
            return (
                f"{repo}: the cache cannot be written ({cause.strerror}). Make room, or choose another folder: "
                "HF_HOME, or cache_dir."
            )
    return f"{hub} does not answer ({terminal.printable(cause, 120)}). Check the network and try again."
