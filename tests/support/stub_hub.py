"""A stub Hugging Face Hub on the loopback interface: what huggingface_hub asks of the real one, over real HTTP.

Large files go through the commit itself (upload mode ``regular``); how huggingface_hub moves them otherwise is its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import yaml
from attrs import Factory, define
from pytest_httpserver import HTTPServer
from werkzeug import Response

if TYPE_CHECKING:
    from werkzeug import Request

TOKEN = "hf_of_the_test"
_MODEL = r"/api/models/(?P<repo>[^/]+/[^/]+)"
_FILE = r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)"


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


class HubStub:
    """The server; use it as a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        #: ``"GET /api/models/…"`` for everything that was asked.
        self.requests: list[str] = []
        #: Answer every request with this status instead.
        self.status: int | None = None
        #: Answer every request with this page instead, as the portal of a network does that wants a login first.
        self.page: bytes | None = None
        self._server = HTTPServer("127.0.0.1")
        self._server.expect_request(re.compile("")).respond_with_handler(self._answer)

    @property
    def url(self) -> str:
        return self._server.url_for("").rstrip("/")

    def add(self, repo_id: str, files: dict[str, bytes], **settings: bool) -> Repo:
        repo = self.repos.setdefault(repo_id, Repo(**settings))
        repo.commit(files)
        return repo

    def close(self) -> None:
        """Stop the server, so that nothing answers at :attr:`url`."""
        self._server.stop()

    def __enter__(self) -> HubStub:
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
            rf"{_MODEL}(/revision/(?P<revision>.+))?": self._info,
            rf"{_MODEL}/tree/(?P<revision>[^/]+)": self._tree,
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
        model, commit = found
        names = [{"rfilename": name} for name in model.commits[commit]]
        return _json({"id": repo, "sha": commit, "siblings": names, "private": model.private, "gated": model.gated})

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
        model, commit = found
        if model.gated and not _authorised(request):
            return _refusal(403, "GatedRepo")
        content = model.commits[commit].get(file)
        if content is None:
            return _refusal(404, "EntryNotFound", {"X-Repo-Commit": commit})
        etag = hashlib.sha256(content).hexdigest()
        return Response(content, headers={"ETag": f'"{etag}"', "X-Repo-Commit": commit})

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
