"""Enough of a W&B server on the loopback device for runs, uploads and resuming; it keeps what it was sent.

Answers: GraphQL by the name of the query, the file stream, PUT of files, and an empty object to anything else.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Received:
    """What a server was sent: runs by id with their fields and history rows, and names of queries and files."""

    address: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    queries: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    is_broken: bool = False  # answers nothing but errors
    views: list[dict[str, Any]] = field(default_factory=list)


def _answer(received: Received, name: str, body: dict[str, Any]) -> dict[str, Any]:
    given = body.get("variables", {})
    project = {"id": "p", "name": "cmt", "internalId": "aQ==", "entity": {"id": "e", "name": "me"}}
    viewer = {"id": "v", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
    if name in ("RunResumeStatus", "ModelBucket"):
        return {"model": {**project, "bucket": _bucket(received, str(given.get("name", "")))}}
    if name == "UpsertBucket":
        run = str(given.get("name") or given.get("id"))
        is_new = run not in received.runs
        received.runs.setdefault(run, {}).update({k: v for k, v in given.items() if v is not None})
        bucket = {"id": run, "name": run, "displayName": run, "config": "{}", "project": project, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}
    if name == "CreateRunFiles":
        files = [{"name": file, "uploadUrl": f"{received.address}/put/{file}"} for file in given.get("files", [])]
        return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
    if name == "CreateArtifact":  # tables; a committed one needs no files
        kept = {"id": "a", "versionIndex": 0}
        return {
            "createArtifact": {
                "artifact": {**kept, "state": "COMMITTED", "artifactSequence": {"id": "s", "latestArtifact": kept}}
            }
        }
    if name == "ArtifactType":  # of that name, of which there is none yet
        return {"project": {**project, "artifact": None}}
    if name.lower() in ("upsertview", "upsertview2"):
        received.views.append(given)
        return {"upsertView": {"view": {"id": "view", "name": given.get("name", "v")}, "inserted": True}}
    return {
        "viewer": viewer,
        "serverInfo": {"cliVersionInfo": {}, "features": []},
        "project": project,
        "model": project,
    }


def _bucket(received: Received, run: str) -> dict[str, Any] | None:
    """Return what a client needs to continue a run, or None for one that is not known."""
    if run not in received.runs:
        return None
    rows = received.history.get(run, [])
    tail = json.dumps([json.dumps(rows[-1])]) if rows else "[]"
    lines = {"historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0}
    tails = {"historyTail": tail, "eventsTail": "[]", "summaryMetrics": json.dumps(received.summaries.get(run, {}))}
    return {"id": run, "name": run, "config": "{}", "tags": [], "wandbConfig": '{"t": 1}', **lines, **tails}


class _Handler(BaseHTTPRequestHandler):
    received: Received

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._send({})

    def do_GET(self) -> None:
        self._send({})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.received.files.append(self.path.removeprefix("/put/"))
        self._send({})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.received.is_broken:
            self.send_error(403)
            return
        if "graphql" in self.path:
            body = json.loads(content)
            found = re.search(r"(?:query|mutation)\s+(\w+)", body.get("query", ""))
            name = found[1] if found else ""
            self.received.queries.append(name)
            self._send({"data": _answer(self.received, name, body)})
            return
        stream = re.search(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
        if stream:
            self._keep(stream[1], json.loads(content))
        self._send({})

    def _keep(self, run: str, sent: dict[str, Any]) -> None:
        for name, part in (sent.get("files") or {}).items():
            lines = [json.loads(line) for line in part.get("content", [])]
            if name == "wandb-history.jsonl":
                rows, first = self.received.history.setdefault(run, []), part["offset"]
                assert first <= len(rows), f"a hole: {first} follows {len(rows)} rows"
                rows[first : first + len(lines)] = lines  # what is sent to a place again stands in the place of the old
            elif name == "wandb-summary.json" and lines:
                self.received.summaries[run] = lines[-1]

    def _send(self, answer: dict[str, Any]) -> None:
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)


@contextmanager
def wandb_server() -> Iterator[Received]:
    """Serve on a free port of the loopback device."""
    received = Received()
    handler = type("Handler", (_Handler,), {"received": received})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    received.address = f"http://127.0.0.1:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield received
    finally:
        http.shutdown()
        http.server_close()


@contextmanager
def logged_in(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[Received]:
    """Start a server that the client takes for its own and has a key for; no login of the user counts."""
    for name in ("WANDB_MODE", "WANDB_SWEEP_ID"):
        patch.delenv(name, raising=False)
    patch.setenv("NETRC", str(folder / "no-netrc"))
    with wandb_server() as received:
        patch.setenv("WANDB_BASE_URL", received.address)
        patch.setenv("WANDB_API_KEY", "a" * 40)
        yield received
