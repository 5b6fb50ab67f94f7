"""Nothing is read, written or removed through a link that leads out of a run folder, by no command."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import cmt_cli
from cmt_cli.analysis.run_index import list_runs
from cmt_cli.core.exceptions import UserError
from cmt_cli.running.run_files import inside, refuse_links
from cmt_cli.sweeps.folder import SweepFolder
from tests.command_line import SMALL, cmt
from tests.robustness.folders import PLACES, lead_out, made_in, unfinished

RUN = ("method=bm25",)
COMMANDS = {  # of a run's folder: those that write it, or load what it holds
    "resume": (),
    "ask": ("Who?",),
    "metrics": ("--add", "chrf"),
    "wandb": (),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make one run for all tests, which take copies of it."""
    with made_in(tmp_path_factory.mktemp("original"), *RUN) as folder:
        (folder / "wandb" / "offline-run-1").mkdir(parents=True)
        (folder / "wandb" / "offline-run-1" / "run-1.wandb").write_text("stand-in")
        yield folder


@pytest.fixture
def run(original: Path, empty_folder: Path) -> Path:
    return shutil.copytree(original, empty_folder / "runs" / original.name)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the content of a folder and the times of its entries."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")
    }


def words(command: str, folder: Path) -> list[str]:
    return ["wandb", "sync", str(folder)] if command == "wandb" else [command, str(folder), *COMMANDS[command]]


@pytest.mark.parametrize("place", PLACES)
def test_no_command_follows_a_link_out(place: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = lead_out(run, place)
    before = state(outside), state(run)
    for command in COMMANDS:
        assert cmt(*words(command, run)) == 2, command
        assert f"{run / place}' is a link that leads out" in capsys.readouterr().err
        assert (state(outside), state(run)) == before, command


@pytest.mark.parametrize("place", ["checkpoint/fit", "predictions", ".lock"])
def test_a_repeated_run_follows_no_link(place: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = lead_out(run, place)
    before = state(outside)
    assert cmt("run", *SMALL, *RUN) == 2
    assert "is a link that leads out" in capsys.readouterr().err
    assert state(outside) == before


@pytest.mark.parametrize("place", ["result.json", "config.yaml", "predictions", "predictions/row_002.jsonl"])
def test_reading_commands_refuse_what_they_read(place: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lead_out(run, place)
    reads = {"result.json": "show", "config.yaml": "show"}.get(place, "report")
    assert cmt(reads, str(run)) == 2
    assert "is a link that leads out" in capsys.readouterr().err


def test_lists_leave_out_a_run_behind_a_link(run: Path) -> None:
    assert [entry.folder for entry in list_runs(run.parent)] == [run]
    (run.parent / ".index").unlink()
    lead_out(run, "result.json")
    with pytest.warns(UserWarning, match="leads out"):
        assert list_runs(run.parent) == []


def test_python_refuses_as_the_command_line_does(run: Path) -> None:
    lead_out(run, "checkpoint/state")
    with pytest.raises(UserError, match="leads out"):
        cmt_cli.load(run).ask("Who?")


def test_a_run_folder_may_be_a_link_itself(run: Path, empty_folder: Path) -> None:
    elsewhere = empty_folder / "scratch"
    shutil.move(run.parent, elsewhere)
    (empty_folder / "runs").symlink_to(elsewhere)
    assert cmt("resume", str(unfinished(run))) == 0
    named = empty_folder / "named"
    named.symlink_to(elsewhere / run.name)
    assert cmt("ask", str(named), "Who?") == 0


def test_links_inside_a_run_folder_are_followed(run: Path) -> None:
    (run / "wandb" / "latest-run").symlink_to("offline-run-1")
    (run / "predictions" / "last.jsonl").symlink_to(run / "predictions" / "row_002.jsonl")
    refuse_links(run)
    assert inside(run, "wandb", "latest-run").is_dir()


def test_the_wandb_clients_log_is_no_way_out(run: Path, tmp_path: Path) -> None:
    (run / "wandb" / "offline-run-1" / "logs").mkdir()
    link = run / "wandb" / "offline-run-1" / "logs" / "debug-core.log"
    link.symlink_to(tmp_path / "cache" / "wandb" / "logs" / "core-debug-20260102_030405.log")
    refuse_links(run)
    link.unlink()
    link.symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="leads out"):
        refuse_links(run)


def test_a_link_over_a_link_is_seen(run: Path, tmp_path: Path) -> None:
    (run / "first").symlink_to(run / "second")
    (run / "second").symlink_to(tmp_path)
    with pytest.raises(UserError, match="first' is a link"):
        refuse_links(run)


def test_names_of_unsent_parts_lead_nowhere(run: Path, tmp_path: Path) -> None:
    from cmt_cli.tracking.sync import find_unsent

    other = tmp_path / "other"
    other.mkdir()
    (other / "run-2.wandb").write_text("stand-in")
    (run / "wandb" / "unsent.txt").write_text("../../../other\n..\n/tmp\n")
    (found,) = find_unsent([run])
    assert [part.name for part in found.parts] == ["offline-run-1"]


def test_a_sweeps_folder_has_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "jobs").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="leads out"):
        SweepFolder(tmp_path / "sweep").plan()


def test_looking_for_links_costs_next_to_nothing(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"row_{number}.jsonl").touch()
    began = time.perf_counter()
    refuse_links(tmp_path)
    assert time.perf_counter() - began < 0.5  # about 3 ms
