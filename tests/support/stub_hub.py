"""A stub Hugging Face Hub on the loopback interface: models and data sets over real HTTP.

It can refuse requests, cut connections and lie about files. Large files are uploaded in the commit itself (upload mode
``regular``); how huggingface_hub moves them otherwise is its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from typing import TYPE_CHECKING, Any

import yaml
from attrs import Factory, define
from pytest_httpserver import HTTPServer
from werkzeug import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from werkzeug import Request

TOKEN = "hf_of_the_test"
_MODEL = r"/api/models/(?P<repo>[^/]+/[^/]+)"
_ANY = r"/api/(models|datasets)/(?P<repo>[^/]+/[^/]+)"
_FILE = r"(/datasets)?/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)"


@define
class Repo:
    """A repository: its files by commit, ``main`` being the last one."""

    commits: dict[str, dict[str, bytes]] = Factory(dict)
    #: Its files are given only to who brings :data:`TOKEN`.
    gated: bool = False
    #: Nobody without :data:`TOKEN` learns that it is there.
    private: bool = False

    def commit(self, changes: dict[str, bytes]) -> str:
        files = {**(self.commits[self.head] if self.commits else {}), **changes}
        described = json.dumps([[name, hashlib.sha1(content).hexdigest()] for name, content in sorted(files.items())])
        sha = hashlib.sha1(described.encode()).hexdigest()
        self.commits.pop(sha, None)
        self.commits[sha] = files
        return sha

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def resolve(self, revision: str) -> str | None:
        return self.head if revision == "main" else revision if revision in self.commits else None


class StubHub:
    """The server; use it as a context manager. Its attributes change how it answers."""

    def __init__(self, repos: Mapping[str, dict[str, bytes]] | None = None) -> None:
        """``repos``: files by name of each repository, a model or a data set."""
        self.repos: dict[str, Repo] = {}
        for repo, files in (repos or {}).items():
            self.add(repo, files)
        #: ``"GET /api/models/…"`` for everything that was asked.
        self.requests: list[str] = []
        #: Answer every request with this status instead.
        self.status: int | None = None
        #: Answer every request with this page instead, as the portal of a network does that wants a login first.
        self.page: bytes | None = None
        #: Answer every request for a file with this status instead.
        self.file_status: int | None = None
        #: First byte of each download.
        self.ranges: list[int] = []
        self.files_given = 0
        #: Whether the files of all repositories are given only to who brings :data:`TOKEN`.
        self.gated = False
        #: Whether files are listed with Git LFS's hash; else with git's.
        self.lfs = True
        #: How many downloads end in their middle.
        self.cuts = 0
        #: Whether downloads that continue get 416.
        self.refuse_ranges = False
        #: What a file is given as.
        self.lie: Callable[[bytes], bytes] = lambda content: content
        #: How long a download waits for its first byte.
        self.seconds = 0.0
        self._server = HTTPServer("127.0.0.1", threaded=True)
        self._server.expect_request(re.compile("")).respond_with_handler(self._answer)

    @property
    def url(self) -> str:
        return self._server.url_for("").rstrip("/")

    def add(self, repo_id: str, files: dict[str, bytes], **settings: bool) -> Repo:
        repo = self.repos.setdefault(repo_id, Repo(**settings))
        repo.commit(files)
        return repo

    def commits(self, repo: str) -> list[str]:
        return list(self.repos[repo].commits)

    def commit(self, repo: str) -> str:
        """The last commit."""
        return self.repos[repo].head

    def content_id(self, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest() if self.lfs else _git_hash(content)

    def close(self) -> None:
        """Stop the server, so that nothing answers at :attr:`url`."""
        self._server.stop()

    def __enter__(self) -> StubHub:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server.is_running():
            self.close()

    def _answer(self, request: Request) -> Response:
        self.requests.append(f"{request.method} {request.path}")
        if self.page is not None:
            return Response(self.page, content_type="text/html")
        if self.status is not None:
            return _refusal(self.status)
        posts = {
            r"/api/repos/create": self._create,
            r"/api/validate-yaml": _validate_card,
            rf"{_MODEL}/preupload/(?P<revision>.+)": self._preupload,
            rf"{_MODEL}/commit/(?P<revision>.+)": self._commit,
        }
        gets = {
            rf"{_ANY}(/revision/(?P<revision>.+))?": self._info,
            rf"{_ANY}/tree/(?P<revision>[^/]+)": self._tree,
            _FILE: self._file,
        }
        for pattern, answer in (posts if request.method == "POST" else gets).items():
            match = re.fullmatch(pattern, request.path)
            if match is not None:
                return answer(request, **match.groupdict())
        return _refusal(404)

    def _found(self, request: Request, repo: str, revision: str | None) -> tuple[Repo, str] | Response:
        found = self.repos.get(repo)
        if found is None or (found.private and not _authorised(request)):
            return _refusal(401, "RepoNotFound")
        commit = found.resolve(revision or "main")
        return (found, commit) if commit is not None else _refusal(404, "RevisionNotFound")

    def _info(self, request: Request, repo: str, revision: str | None = None) -> Response:
        found = self._found(request, repo, revision)
        if isinstance(found, Response):
            return found
        kept, commit = found
        siblings = [self._sibling(name, content) for name, content in kept.commits[commit].items()]
        gated = kept.gated or self.gated
        return _json({"id": repo, "sha": commit, "siblings": siblings, "private": kept.private, "gated": gated})

    def _sibling(self, name: str, content: bytes) -> dict[str, Any]:
        size = len(content)
        lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}
        listed = {"rfilename": name, "size": size, "blobId": _git_hash(content)}
        return {**listed, **({"lfs": lfs} if self.lfs else {})}

    def _tree(self, request: Request, repo: str, revision: str) -> Response:
        found = self._found(request, repo, revision)
        if isinstance(found, Response):
            return found
        model, commit = found
        return _json([_entry(name, content) for name, content in model.commits[commit].items()])

    def _file(self, request: Request, repo: str, revision: str, file: str) -> Response:
        found = self._found(request, repo, revision)
        if isinstance(found, Response):
            return found
        kept, commit = found
        if (kept.gated or self.gated) and not _authorised(request):
            return _refusal(403, "GatedRepo")
        if self.file_status is not None:
            return _refusal(self.file_status)
        content = kept.commits[commit].get(file)
        if content is None:
            return _refusal(404, "EntryNotFound", {"X-Repo-Commit": commit})
        headers = {"ETag": f'"{self.content_id(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if request.method == "HEAD":
            return Response(content, headers=headers)
        return self._download(request, content, headers)

    def _download(self, request: Request, content: bytes, headers: dict[str, str]) -> Response:
        start = int((re.match(r"bytes=(\d+)-", request.headers.get("Range", "")) or [0, "0"])[1])
        self.ranges.append(start)
        if start and self.refuse_ranges:
            self.refuse_ranges = False
            return _refusal(416)
        time.sleep(self.seconds)
        self.files_given += 1
        given = self.lie(content)[start:]
        headers |= {"Content-Length": str(len(given))}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.cuts:
            self.cuts -= 1
            return Response(_cut(given), headers=headers, status=206 if start else 200, direct_passthrough=True)
        return Response(given, headers=headers, status=206 if start else 200)

    def _create(self, request: Request) -> Response:
        if not _authorised(request):
            return _refusal(401)
        wanted = json.loads(request.data)
        repo = f"{wanted['organization'] or 'me'}/{wanted['name']}"
        status = 409 if repo in self.repos else 200
        if status == 200:
            self.add(repo, {".gitattributes": b""}, private=wanted.get("visibility") == "private")
        return _json({"url": f"{self.url}/{repo}"}, status)

    def _preupload(self, request: Request, repo: str, revision: str) -> Response:
        if not _authorised(request):
            return _refusal(403)
        wanted = [item["path"] for item in json.loads(request.data)["files"]]
        return _json({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in wanted]})

    def _commit(self, request: Request, repo: str, revision: str) -> Response:
        operations = [json.loads(line) for line in request.data.splitlines()]
        changes = {
            item["value"]["path"]: base64.b64decode(item["value"]["content"])
            for item in operations
            if item["key"] == "file"
        }
        sha = self.repos[repo].commit(changes)
        return _json({"commitUrl": f"{self.url}/{repo}/commit/{sha}", "commitOid": sha})


def _cut(content: bytes) -> Iterator[bytes]:
    """Half of the content, then the connection ends."""
    yield content[: len(content) // 2]
    raise ConnectionAbortedError


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _validate_card(request: Request) -> Response:
    """The front matter of a model card must be YAML with a mapping."""
    front = yaml.safe_load(json.loads(request.data)["content"].split("---")[1])
    errors = [] if isinstance(front, dict) else [{"message": "the front matter is no mapping"}]
    return _json({"warnings": [], "errors": errors})


def _entry(name: str, content: bytes) -> dict[str, Any]:
    """A file of a commit, as the Hub lists it."""
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def _authorised(request: Request) -> bool:
    return request.headers.get("Authorization") == f"Bearer {TOKEN}"


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")


def _refusal(status: int, code: str = "", headers: dict[str, str] | None = None) -> Response:
    return Response(b"{}", status, headers={"X-Error-Code": code, **(headers or {})})
