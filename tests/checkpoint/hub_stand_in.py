"""A small Hugging Face Hub on the loopback interface: what huggingface_hub asks of the real one, over real HTTP.

Large files go through the commit itself (upload mode ``regular``); how huggingface_hub moves them otherwise is its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from attrs import Factory, define

TOKEN = "hf_of_the_test"
_MODEL = r"/api/models/(?P<repo>[^/]+/[^/]+)"


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


class HubStandIn:
    """The server; use it as a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        #: ``"GET /api/models/…"`` for everything that was asked.
        self.requests: list[str] = []
        #: Answer every request with this status instead.
        self.status: int | None = None
        #: Answer every request with this page instead, as the portal of a network does that wants a login first.
        self.page: bytes | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(self, repo_id: str, files: dict[str, bytes], **settings: bool) -> Repo:
        repo = self.repos.setdefault(repo_id, Repo(**settings))
        repo.commit(files)
        return repo

    def close(self) -> None:
        """From now on nobody answers at :attr:`url`."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> HubStandIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.close()


def _entry(name: str, content: bytes) -> dict[str, Any]:
    """A file of a commit, as the Hub lists it."""
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def _handler_of(hub: HubStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        # HTTP/1.0, the default, keeps no connection: once the server is closed nobody answers.
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            routes = {
                rf"{_MODEL}(/revision/(?P<revision>.+))?": self._info,
                rf"{_MODEL}/tree/(?P<revision>[^/]+)": self._tree,
            }
            self._route(routes)

        def do_HEAD(self) -> None:
            self._route({})

        def do_POST(self) -> None:
            routes = {
                r"/api/repos/create": self._create,
                r"/api/validate-yaml": self._validate_card,
                rf"{_MODEL}/preupload/(?P<revision>.+)": self._preupload,
                rf"{_MODEL}/commit/(?P<revision>.+)": self._commit,
            }
            self._route(routes)

        def _route(self, routes: dict[str, Any]) -> None:
            self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            if hub.page is not None:
                return self._answer(200, hub.page, {"Content-Type": "text/html"})
            if hub.status is not None:
                return self._refuse(hub.status, "")
            if self.command != "POST":
                routes = {**routes, r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)": self._file}
            for pattern, answer in routes.items():
                match = re.fullmatch(pattern, path)
                if match is not None:
                    return answer(**match.groupdict())
            return self._refuse(404, "")

        def _authorised(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def _found(self, repo: str, revision: str | None) -> tuple[Repo, str] | None:
            found = hub.repos.get(repo)
            if found is None or (found.private and not self._authorised()):
                return self._refuse(401, "RepoNotFound")
            commit = found.resolve(revision or "main")
            return (found, commit) if commit is not None else self._refuse(404, "RevisionNotFound")

        def _info(self, repo: str, revision: str | None = None) -> None:
            found = self._found(repo, revision)
            if found is not None:
                model, commit = found
                names = [{"rfilename": name} for name in model.commits[commit]]
                flags = {"private": model.private, "gated": model.gated}
                self._json({"id": repo, "sha": commit, "siblings": names, **flags})

        def _tree(self, repo: str, revision: str) -> None:
            found = self._found(repo, revision)
            if found is not None:
                model, commit = found
                self._json([_entry(name, content) for name, content in model.commits[commit].items()])

        def _file(self, repo: str, revision: str, file: str) -> None:
            found = self._found(repo, revision)
            if found is None:
                return None
            if found[0].gated and not self._authorised():
                return self._refuse(403, "GatedRepo")
            content = found[0].commits[found[1]].get(file)
            if content is None:
                return self._refuse(404, "EntryNotFound", {"X-Repo-Commit": found[1]})
            etag = hashlib.sha256(content).hexdigest()
            return self._answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": found[1]})

        def _create(self) -> None:
            if not self._authorised():
                return self._refuse(401, "")
            wanted = json.loads(self._body)
            repo = f"{wanted['organization'] or 'me'}/{wanted['name']}"
            if repo in hub.repos:
                return self._json({"url": f"{hub.url}/{repo}"}, 409)
            hub.repos[repo] = Repo(private=wanted.get("visibility") == "private")
            hub.repos[repo].commit({".gitattributes": b""})
            return self._json({"url": f"{hub.url}/{repo}"})

        def _validate_card(self) -> None:
            """The front matter of a model card must be YAML with a mapping."""
            content = json.loads(self._body)["content"]
            front = yaml.safe_load(content.split("---")[1])
            errors = [] if isinstance(front, dict) else [{"message": "the front matter is no mapping"}]
            self._json({"warnings": [], "errors": errors})

        def _preupload(self, repo: str, revision: str) -> None:
            if not self._authorised():
                return self._refuse(403, "")
            wanted = [item["path"] for item in json.loads(self._body)["files"]]
            files = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in wanted]
            return self._json({"files": files})

        def _commit(self, repo: str, revision: str) -> None:
            operations = [json.loads(line) for line in self._body.splitlines()]
            changes = {
                item["value"]["path"]: base64.b64decode(item["value"]["content"])
                for item in operations
                if item["key"] == "file"
            }
            sha = hub.repos[repo].commit(changes)
            self._json({"commitUrl": f"{hub.url}/{repo}/commit/{sha}", "commitOid": sha})

        def _json(self, value: object, status: int = 200) -> None:
            self._answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
            self._answer(status, b"{}", {"X-Error-Code": code, **(headers or {})})

        def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler
