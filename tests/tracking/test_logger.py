"""Weights & Biases is a mirror: complete when it works, and no trouble when it does not."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb

from cmt_cli.core.exceptions import UserError
from cmt_cli.running.run_files import read_result
from cmt_cli.running.signals import StoppedBySignal
from cmt_cli.tracking.connection import choose_mode
from cmt_cli.tracking.logger import WandbLogger
from cmt_cli.tracking.sync import find_unsent
from tests.running.toy import ToyTrainer, record_without_times, run_toy
from tests.tracking.wandb_file import read_run


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    yield
    wandb.teardown()


def make_logger(mode: str = "auto", *, log_artifacts: bool = False) -> WandbLogger:
    return WandbLogger(
        project="cmt", entity=None, mode=mode, log_artifacts=log_artifacts, connect_seconds=1.0, finish_seconds=2.0
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/*run-*/*.wandb"))


def test_an_offline_file_holds_the_whole_run(tmp_path: Path) -> None:
    folder = tmp_path / "drift-toy-generated-toy-12345678"
    result = run_toy(folder, loggers=[make_logger(log_artifacts=True)])
    (path,) = files(folder)
    found = read_run(path)

    run = found["run"]
    assert (run.project, run.run_group, run.display_name) == ("cmt", "drift-toy-toy", folder.name)
    assert set(run.tags) == {"drift", "toy", "generated", "test"}
    assert found["config"]["method"] == {"_target_": "toy", "strength": 1.0, "seed": 0}
    assert found["config"]["data_source"] == "generated" and found["config"]["seed"] == 0

    axes = {metric.glob_name or metric.name: metric.step_metric for metric in found["metrics"]}
    assert axes["cl/*"] == "task_index" and axes["train/*"] == "train/step"
    rows = [h for h in found["history"] if "task_index" in h]
    assert [h["task_index"] for h in rows] == [0, 1, 2, 3]
    assert rows[2]["cl/em/batch-0"] == result.matrices["em"].rows[2][0]
    assert result.metrics["retention"].value is None and "cl/retention/em" not in rows[3]  # these scores are at chance
    assert [h["train/step"] for h in found["history"] if "train/loss" in h] == list(range(1, 25))

    media = {
        key.removesuffix(".path"): path.parent / "files" / row[key]
        for row in found["history"]
        for key in row
        if key.startswith(("tables/", "plots/")) and key.endswith(".path")
    }
    table = json.loads(media["tables/score_matrix"].read_text())
    assert table["columns"] == ["row", "test", "learned_at", "metric", "value"]
    assert table["data"][4] == [1, "batch-1", 1, "em", result.matrices["em"].rows[1][1]]
    predictions = json.loads(media["tables/predictions"].read_text())
    assert len(predictions["data"]) == 6 and predictions["data"][0][:2] == ["batch-0", "q0-0"]
    for name in ("plots/score_matrix", "plots/tests"):
        assert media[name].read_bytes().startswith(b"\x89PNG")
    assert f"{folder.name}-checkpoint" in found["artifacts"]

    assert found["summary"]["final/aa"] == result.metrics["aa"].value
    assert found["summary"]["cost/tokens"] == 2400 and found["summary"]["status"] == "complete"


def test_a_continued_run_keeps_its_id_with_growing_steps(tmp_path: Path) -> None:
    def stop(step: int) -> None:
        if step == 3 and (tmp_path / "predictions" / "row_001.jsonl").exists():
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedBySignal):
        run_toy(tmp_path, loggers=[make_logger()], trainer=ToyTrainer(on_step=stop))
    time.sleep(1.1)  # the client names its folder by the second
    run_toy(tmp_path, loggers=[make_logger()])
    first, second = (read_run(path) for path in files(tmp_path))
    assert first["run"].run_id == second["run"].run_id
    assert first["history"][-1]["_step"] < second["history"][0]["_step"]
    seen = [h["train/step"] for run in (first, second) for h in run["history"] if "train/loss" in h]
    assert seen == list(range(1, 25))


def test_the_mode_follows_login_and_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9"
    assert choose_mode("auto", dead, 1.0) == ("offline", "not logged in, see `wandb login`")
    assert choose_mode("online", dead, 1.0)[0] == "offline"
    (tmp_path / "no-netrc").write_text("machine 127.0.0.1 login user password key\n")
    assert choose_mode("auto", dead, 1.0) == ("offline", f"{dead} does not answer")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode("auto", dead, 1.0)[0] == "disabled"
    assert choose_mode("offline", dead, 1.0) == ("offline", "as configured")
    with pytest.raises(UserError, match="Did you mean 'online'"):
        make_logger("onlin")


class Server(BaseHTTPRequestHandler):
    """Enough of a W&B server for one run; `is_hanging` makes it answer its front page only."""

    is_hanging = False

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.is_hanging:
            time.sleep(30)
            return
        query = json.loads(body).get("query", "") if "graphql" in self.path else ""
        project = {"id": "p", "name": "cmt", "entity": {"id": "e", "name": "me"}}
        answer: dict[str, Any] = {"data": {"viewer": {"id": "v", "entity": "me", "username": "me", "flags": "{}"}}}
        if "RunResumeStatus" in query:
            answer = {"data": {"model": {**project, "bucket": None}}}
        elif "UpsertBucket" in query:
            bucket = {"id": "b", "name": "n", "displayName": "n", "config": "{}", "project": project}
            answer = {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setattr(Server, "is_hanging", False)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{http.server_address[1]}")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    yield http
    http.shutdown()
    http.server_close()


def test_a_server_that_cannot_be_reached_delays_nothing(tmp_path: Path, server: ThreadingHTTPServer) -> None:
    server.shutdown()
    server.server_close()
    began = time.monotonic()
    assert run_toy(tmp_path, loggers=[make_logger()]).status == "complete"
    assert time.monotonic() - began < 30
    wandb.teardown()  # as at the end of the process; the client's service then writes what it holds
    (path,) = files(tmp_path)
    assert path.parent.name.startswith("offline-run-") and read_run(path)["summary"]["status"] == "complete"


@pytest.mark.slow
def test_a_server_that_hangs_is_given_up(
    tmp_path: Path, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Server, "is_hanging", True)
    began = time.monotonic()
    assert run_toy(tmp_path, loggers=[make_logger()]).status == "complete"
    assert time.monotonic() - began < 30
    assert "did not open the run" in capsys.readouterr().err
    assert any(read_run(path)["summary"].get("status") == "complete" for path in files(tmp_path))


@pytest.mark.slow
def test_a_server_leaving_in_the_middle_loses_nothing(
    tmp_path: Path, server: ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(step: int) -> None:
        if step == 0 and (tmp_path / "predictions" / "row_001.jsonl").exists():
            server.shutdown()
            server.server_close()

    began = time.monotonic()
    run_toy(tmp_path, loggers=[make_logger()], trainer=ToyTrainer(on_step=leave))
    assert time.monotonic() - began < 30
    assert "/me/cmt/runs/" in capsys.readouterr().err  # it had begun online
    result = read_result(tmp_path)
    assert result is not None and result.status == "complete"
    wandb.teardown()  # as at the end of the process; the client's service then writes what it holds
    (path,) = files(tmp_path)
    assert [h["task_index"] for h in read_run(path)["history"] if "task_index" in h] == [0, 1, 2, 3]
    (unsent,) = find_unsent([tmp_path])  # `cmt wandb sync` uploads it later
    assert unsent.parts == (path.parent.resolve(),)


def test_a_client_error_is_reported_once_without_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: object, *arguments: object, **keywords: object) -> None:
        raise ConnectionResetError("the service is gone")

    monkeypatch.setattr(wandb.Run, "log", broken)
    run_toy(tmp_path / "with", loggers=[make_logger("offline")])
    run_toy(tmp_path / "without")
    assert capsys.readouterr().err.count("the service is gone") == 1
    assert record_without_times(tmp_path / "with") == record_without_times(tmp_path / "without")
