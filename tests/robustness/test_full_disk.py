"""A disk that is full costs the step that was under way, nothing that was saved, at whichever write it happens."""

from __future__ import annotations

import errno
import json
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmt_cli.core.atomic import append_line, write_text
from cmt_cli.core.exceptions import told
from cmt_cli.running.run_files import read_events, read_result
from tests.command_line import SMALL, cmt
from tests.robustness.full_disk import full_disk
from tests.running.toy import record_without_times, run_toy

FINETUNE = ("method=finetune", "trainer.task.num_epochs=1")


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.name != ".lock"]


def test_no_failed_write_loses_what_was_saved(tmp_path: Path) -> None:
    with full_disk(tmp_path / "whole", first=10**6) as disk:
        run_toy(tmp_path / "whole")
    assert disk.num_writes > 100
    expected = record_without_times(tmp_path / "whole")
    for number in range(1, disk.num_writes + 1):
        folder = tmp_path / str(number)
        with full_disk(folder, first=number), pytest.raises(OSError, match="No space") as refused:
            run_toy(folder)
        assert "no space left" in str(told(refused.value)) and str(folder) in str(told(refused.value))
        assert not leftovers(folder)
        for line in (folder / "events.jsonl").read_text().splitlines() if (folder / "events.jsonl").exists() else ():
            assert isinstance(json.loads(line), dict)
        run_toy(folder)
        assert record_without_times(folder) == expected, f"write {number}"
        assert [event["event"] for event in read_events(folder)][-1] == "complete"


def test_a_run_stopped_by_a_full_disk_goes_on(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with full_disk(empty_folder / "runs", first=10**6) as disk:
        assert cmt("run", *SMALL, *FINETUNE, "paths.runs=runs/whole") == 0
    for share in (0.3, 0.6, 0.9):
        capsys.readouterr()
        place = f"paths.runs=runs/{share}"
        with full_disk(empty_folder / "runs", first=int(share * disk.num_writes), number=errno.EDQUOT):
            assert cmt("run", *SMALL, *FINETUNE, place) == 2
        message = capsys.readouterr().err.splitlines()[-1]
        assert message.startswith("Error: '") and "quota" in message and "Traceback" not in message
        assert cmt("run", *SMALL, *FINETUNE, place) == 0
        (folder,) = (empty_folder / "runs" / str(share)).iterdir()
        result = read_result(folder)
        assert result is not None and result.status == "complete"


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let the system refuse files above 20 kB, as it does where `ulimit -f` is set."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_refused_file_leaves_the_one_before(tmp_path: Path, small_files: None) -> None:
    path = tmp_path / "kept"
    write_text(path, "before")
    with pytest.raises(OSError, match="kept") as refused:
        write_text(path, "x" * 30_000)
    assert refused.value.errno == errno.EFBIG
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_a_refused_line_is_not_there_at_all(tmp_path: Path, small_files: None) -> None:
    path = tmp_path / "log"
    append_line(path, "whole")
    with pytest.raises(OSError, match="log"):
        append_line(path, "x" * 30_000)
    append_line(path, "again")
    assert path.read_text() == "whole\nagain\n"
