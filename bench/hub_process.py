"""A stub of the Hub on the loopback interface, a process of its own: python -m bench.hub_process FOLDER.

It gives the parquet files of FOLDER as those of the data set bench/music, and prints its address.
"""

from __future__ import annotations

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPO = "bench/music"
_COMMIT = "0" * 40


def main() -> None:
    folder = Path(sys.argv[1])
    files = {path.name: (path, _sha256(path)) for path in sorted(folder.glob("*.parquet"))}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(files))
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _handler(files: dict[str, tuple[Path, str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._file(body=False)

        def do_GET(self) -> None:
            if self.path.startswith("/api/"):
                siblings = [
                    {"rfilename": name, "size": path.stat().st_size, "blobId": sha256[:40],
                     "lfs": {"sha256": sha256, "size": path.stat().st_size, "pointerSize": 134}}
                    for name, (path, sha256) in files.items()
                ]  # fmt: skip
                info = {"id": REPO, "sha": _COMMIT, "siblings": siblings, "private": False, "gated": False}
                content = json.dumps(info).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            else:
                self._file(body=True)

        def _file(self, *, body: bool) -> None:
            path, sha256 = files[self.path.rpartition("/")[2]]
            self.send_response(200)
            self.send_header("ETag", f'"{sha256}"')
            self.send_header("X-Repo-Commit", _COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            if body:
                # By the kernel alone: the processor time of a hub is not part of what is measured.
                with path.open("rb") as stream:
                    self.wfile.flush()
                    self.connection.sendfile(stream)

        def log_message(self, *_: object) -> None:
            return

    return Handler


if __name__ == "__main__":
    main()
