"""Enough of the hub on the loopback device: data sets of a test's own rows, by commit, and the faults of a network.

Answers as the hub does: the api's info of a revision with sizes and hashes of its files; `resolve` with ETag and
X-Repo-Commit, large files by a redirect to another path that takes ranges; 307 for a data set that was renamed; the
status and X-Error-Code of what is gated, missing or too much.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import unquote, urlsplit

import datasets
import pyarrow
from pyarrow import parquet

PAGE = b"<html>a page</html>"
LARGE = (".parquet", ".jsonl")  # files that the stub keeps as large ones

Files = dict[str, bytes]


def commit_of(number: int) -> str:
    """Return a commit of the stub's."""
    return f"{number:040x}"


def git_hash(content: bytes) -> str:
    """Return the hash by which git knows a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def as_parquet(rows: Sequence[Mapping[str, Any]], features: Mapping[str, Any]) -> bytes:
    """Return a parquet file as the `datasets` library writes it, with the names of its labels."""
    table = datasets.Dataset.from_list([dict(row) for row in rows], features=datasets.Features(features))
    file = BytesIO()
    table.to_parquet(file)
    return file.getvalue()


def as_bare_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a parquet file without a word of the `datasets` library."""
    file = BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), file)
    return file.getvalue()


def as_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as lines of json."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


@dataclass
class Hub:
    """What the stub has and was asked; `refs` are branches by data set, `commits` files by data set and commit.

    `statuses` answers paths that hold a text with a status and an error code, `cuts` ends the next answers to them
    after so many bytes, `changed` sends other bytes of the same number.
    """

    address: str = ""
    storage: str = ""  # the same server by another name: the hub's large files lie on another host
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    commits: dict[tuple[str, str], Files] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    stalls: set[str] = field(default_factory=set)  # files of which a half arrives, and then nothing
    asked: list[str] = field(default_factory=list)

    def put(self, dataset: str, commit: str, files: Files, branch: str = "main") -> str:
        """Add a commit of a data set, which a branch then is; return it."""
        self.refs.setdefault(dataset, {})[branch] = commit
        self.commits[dataset, commit] = files
        return commit

    def resolved(self, dataset: str, revision: str) -> str | None:
        """Return the commit of a revision, None where there is none."""
        if (dataset, revision) in self.commits:
            return revision
        return self.refs.get(dataset, {}).get(revision)

    def info(self, dataset: str, commit: str) -> dict[str, Any]:
        """Return the api's description of a commit."""
        siblings = []
        for name, content in self.commits[dataset, commit].items():
            sibling: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_hash(content)}
            if name.endswith(LARGE):
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 131}
            siblings.append(sibling)
        return {"id": dataset, "sha": commit, "private": False, "gated": False, "siblings": siblings}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {unquote(path)}")
        for part, (status, code) in self.hub.statuses.items():
            if part in unquote(path):
                self._send(status, PAGE, {"X-Error-Code": code} if code else {})
                return
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            self._send_info("/".join(parts[2:4]), unquote(parts[5]) if len(parts) > 5 else "main")
        elif parts[0] == "datasets":
            self._send_file("/".join(parts[1:3]), unquote(parts[4]), unquote("/".join(parts[5:])))
        elif parts[0] == "cdn":
            dataset, commit, name = "/".join(parts[1:3]), parts[3], unquote("/".join(parts[4:]))
            self._send_content(name, self.hub.commits[dataset, commit][name])
        else:
            self._send(404, b"", {})

    def _commit(self, dataset: str, revision: str) -> str | None:
        if dataset in self.hub.renamed:
            self._send(307, b"", {"Location": self.path.replace(dataset, self.hub.renamed[dataset])})
            return None
        if dataset not in self.hub.refs:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
            return None
        commit = self.hub.resolved(dataset, revision)
        if commit is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        return commit

    def _send_info(self, dataset: str, revision: str) -> None:
        commit = self._commit(dataset, revision)
        if commit is not None:
            self._send(200, json.dumps(self.hub.info(dataset, commit)).encode(), {"Content-Type": "application/json"})

    def _send_file(self, dataset: str, revision: str, name: str) -> None:
        commit = self._commit(dataset, revision)
        if commit is None:
            return
        content = self.hub.commits[dataset, commit].get(name)
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        if not name.endswith(LARGE):
            self._send_content(name, content, {"ETag": f'"{git_hash(content)}"', "X-Repo-Commit": commit})
            return
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(content)),
            "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Location": f"{self.hub.storage}/cdn/{dataset}/{commit}/{name}",
        }
        self._send(302, b"", headers)

    def _send_content(self, name: str, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        if name in self.hub.changed:
            content = bytes(len(content))
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        size, content = len(content), content[first:]
        more = {"Content-Range": f"bytes {first}-{size - 1}/{size}"} if "Range" in self.headers else {}
        if self.command == "GET" and name in self.hub.stalls:
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(content[: size // 2])
            self.wfile.flush()
            threading.Event().wait(30)
            return
        cut = self.hub.cuts.get(name, []) if self.command == "GET" else []
        self._send(206 if more else 200, content, {**(headers or {}), **more}, cut.pop(0) if cut else None)

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Serve on a free port of the loopback device."""
    hub = Hub()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    http.daemon_threads = True
    hub.address = f"http://127.0.0.1:{http.server_address[1]}"
    hub.storage = f"http://localhost:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        http.shutdown()
        http.server_close()
