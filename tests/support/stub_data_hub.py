"""A stub of the Hub's data sets on the loopback interface, which can refuse, cut connections and lie about files."""

from __future__ import annotations

import hashlib
import json
import re
import time
from typing import TYPE_CHECKING, Any

from pytest_httpserver import HTTPServer
from werkzeug import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from werkzeug import Request

TOKEN = "hf_of_the_test"
_INFO = re.compile(r"/api/datasets/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>.+))?")
_FILE = re.compile(r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


class DataHub:
    """The server; use it as a context manager. Its attributes change how it answers."""

    def __init__(self, repos: dict[str, dict[str, bytes]]) -> None:
        self._commits: dict[str, dict[str, dict[str, bytes]]] = {}
        for repo, files in repos.items():
            self.add(repo, files)
        #: ``"GET /datasets/…"`` for everything that was asked.
        self.requests: list[str] = []
        #: First byte of each download.
        self.ranges: list[int] = []
        self.files_given = 0
        #: Whether files are given only to who brings :data:`TOKEN`.
        self.gated = False
        #: Whether files are listed with Git LFS's hash; else with git's.
        self.lfs = True
        #: Answer every request, or those for files, with this status.
        self.status: int | None = None
        self.file_status: int | None = None
        self.page: bytes | None = None
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

    def add(self, repo: str, changes: dict[str, bytes]) -> None:
        """A commit."""
        commits = self._commits.setdefault(repo, {})
        files = {**(list(commits.values())[-1] if commits else {}), **changes}
        described = json.dumps([[name, hashlib.sha1(content).hexdigest()] for name, content in sorted(files.items())])
        commits[hashlib.sha1(described.encode()).hexdigest()] = files

    def commits(self, repo: str) -> list[str]:
        return list(self._commits[repo])

    def commit(self, repo: str) -> str:
        return self.commits(repo)[-1]

    def content_id(self, content: bytes) -> str:
        if self.lfs:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def close(self) -> None:
        """Stop the server, so that nothing answers at :attr:`url`."""
        self._server.stop()

    def __enter__(self) -> DataHub:
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
        for pattern, answer in ((_INFO, self._info), (_FILE, self._file)):
            match = pattern.fullmatch(request.path)
            if match is not None:
                return answer(request, **match.groupdict())
        return _refusal(404)

    def _found(self, repo: str, revision: str | None) -> str | Response:
        if repo not in self._commits:
            return _refusal(401, "RepoNotFound")
        commit = self.commit(repo) if revision in (None, "main") else revision
        return commit if commit in self._commits[repo] else _refusal(404, "RevisionNotFound")

    def _info(self, request: Request, repo: str, revision: str | None) -> Response:
        commit = self._found(repo, revision)
        if isinstance(commit, Response):
            return commit
        siblings = [self._sibling(name, content) for name, content in self._commits[repo][commit].items()]
        described = {"id": repo, "sha": commit, "siblings": siblings, "private": False, "gated": self.gated}
        return Response(json.dumps(described), content_type="application/json")

    def _sibling(self, name: str, content: bytes) -> dict[str, Any]:
        size, blob = len(content), hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}
        return {"rfilename": name, "size": size, "blobId": blob, **({"lfs": lfs} if self.lfs else {})}

    def _file(self, request: Request, repo: str, revision: str, file: str) -> Response:
        commit = self._found(repo, revision)
        if isinstance(commit, Response):
            return commit
        if self.gated and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _refusal(403, "GatedRepo")
        if self.file_status is not None:
            return _refusal(self.file_status)
        content = self._commits[repo][commit].get(file)
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


def _cut(content: bytes) -> Iterator[bytes]:
    """Half of the content, then the connection ends."""
    yield content[: len(content) // 2]
    raise ConnectionAbortedError


def _refusal(status: int, code: str = "", headers: dict[str, str] | None = None) -> Response:
    return Response(b"{}", status, headers={"X-Error-Code": code, **(headers or {})})
