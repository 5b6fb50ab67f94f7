"""The same from Python: `cmt_cli.run` makes a run, `cmt_cli.load` reads one back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cmt_cli
from cmt_cli.core.exceptions import UserError
from tests.command_line import SMALL

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_a_run_is_made_read_back_and_queried() -> None:
    run = cmt_cli.run("method=bm25", "data=streamingqa", *SMALL)
    assert run.result.status == "complete" and run.folder.is_dir()
    assert len(run.scores) == 3 and len(run.scores[0]) == 2  # before the stream and after each of two tasks, by test
    assert run.metrics["aa"] == run.result.metrics["aa"].value

    again = cmt_cli.load(run.folder)
    assert again.scores == run.scores
    last = again.predictions()
    assert last == again.predictions(2) and {"test", "prompt", "prediction"} <= set(last[0])
    answer = again.ask("Which language is spoken here?")
    assert answer.documents and 0 < sum(weight for _, weight in answer.documents) <= 1 + 1e-6
    assert again.model is again.model  # loaded once


def test_a_complete_run_is_not_made_again() -> None:
    first = cmt_cli.run("method=frozen", *SMALL)
    written = (first.folder / "events.jsonl").read_bytes()
    assert cmt_cli.run("method=frozen", *SMALL).folder == first.folder
    assert (first.folder / "events.jsonl").read_bytes() == written


def test_errors_are_the_command_lines() -> None:
    with pytest.raises(UserError, match="Did you mean 'cmt'"):
        cmt_cli.run("method=cmtt")
    with pytest.raises(UserError, match="holds no run"):
        cmt_cli.load("nowhere")
    run = cmt_cli.run("method=frozen", *SMALL)
    with pytest.raises(UserError, match="has no row 3 of predictions: there are 3"):
        run.predictions(3)


def test_lists_and_single_strings_are_told_apart() -> None:
    with pytest.raises(TypeError, match=r"takes strings, one by one, not list: .*run\(\*overrides\)"):
        cmt_cli.run(["method=frozen"])  # type: ignore[arg-type]
    run = cmt_cli.run("method=frozen", *SMALL)
    with pytest.raises(TypeError, match=r"generate\(\[prompt\]\)"):
        run.model.generate("one string")


def test_a_file_cannot_hold_run_folders(tmp_path: Path) -> None:
    file = tmp_path / "runs.txt"
    file.touch()
    for given in (file, file / "below"):
        with pytest.raises(UserError, match=r"paths\.runs=.*runs\.txt is a file"):
            cmt_cli.run("method=frozen", *SMALL, f"paths.runs={given}")


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import cmt_cli, sys; cmt_cli.__version__\n"
    code += "print(sorted({'torch', 'hydra', 'typer', 'yaml'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(cmt_cli.__file__).parents[1]
    )
    assert done.stdout.strip() == "[]"
