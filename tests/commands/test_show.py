"""What a person sees of a run: a table that fits, what is missing and why, and where the data came from."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from cmt_cli.commands.next_commands import next_commands
from cmt_cli.commands.run_text import matrix_table, show, without_value
from cmt_cli.core.result import Metric, RunResult, ScoreMatrix
from cmt_cli.running.loggers import ConsoleLogger, JsonLines
from cmt_cli.running.run_files import read_result
from cmt_cli.terminal.layout import seconds, size
from cmt_cli.terminal.progress import ProgressDisplay, duration
from tests.running.toy import ToyTrainer, run_toy, toy_stream


def shown(result: RunResult, folder: Path, *, width: int = 80, terminal: bool = False) -> str:
    file = io.StringIO()
    color = "truecolor" if terminal else None
    show(result, folder, Console(width=width, file=file, force_terminal=terminal, color_system=color))  # type: ignore[arg-type]
    return file.getvalue()


def test_a_run_of_twelve_tests_fits_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = shown(run_toy(tmp_path, stream=toy_stream(12)), tmp_path)
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith(("  cmt ", "Run folder: "))]
    assert "\x1b" not in text and all(len(line) <= 80 for line in lines)
    result = read_result(tmp_path)
    assert result is not None
    first_row = next(line for line in text.splitlines() if line.startswith("before"))
    cells = [f"{v:.2f}".lstrip("0").replace("1.00", "1.0") for v in result.matrices["em"].rows[0] if v is not None]
    assert first_row.split()[1:] == cells
    assert re.search(r"^No value: .*fwd_single_task.* \(needs a\s+baseline run\)$", text, re.MULTILINE | re.DOTALL)
    assert "mean_j a[T,j]" in text and "cmt ask" in text and "trainable parameters" in text


def test_generated_data_stand_in_for_a_real_data_set(tmp_path: Path) -> None:
    result = run_toy(tmp_path)
    assert "Data: GENERATED\n" in shown(result, tmp_path)  # the toy stream has no real data set
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "data": {"source": "auto"}}))
    assert "Data: GENERATED, a stand-in for the real data set\n" in shown(result, tmp_path)


def test_metrics_without_value_share_a_line(tmp_path: Path) -> None:
    result = run_toy(tmp_path)
    made = "; `cmt run seed=1 baselines=auto` makes it"
    reasons = [f"needs the baseline run a-1{made}", f"needs the baseline run b-2{made}", "the score is 0", None]
    named = {f"m{i}": Metric(None, "f", reason) for i, reason in enumerate(reasons)}
    result = dataclasses.replace(result, metrics={"aa": Metric(0.5, "f"), "f1/aa": Metric(None, "f", "x"), **named})
    assert without_value(result) == {
        "needs a baseline run": ["m0", "m1"],
        "the score is 0": ["m2"],
        "no reason is recorded": ["m3"],
    }


def hints(result: RunResult, *overrides: str, **changes: Any) -> dict[str, str]:
    """Return the purpose of each command for a run made with overrides, by command."""
    config = {"hydra": {"overrides": {"task": list(overrides)}}, **changes}
    return dict(next_commands(result, Path("runs/a b"), config))


def test_commands_to_repeat_keep_every_override(tmp_path: Path) -> None:
    result = dataclasses.replace(run_toy(tmp_path), method="cmt", data={"name": "squad"}, model={"name": "tiny"})
    of_method = ("method=cmt", "method.seed=1", "injection@method.parts=a")
    given = (*of_method, "data=squad", "data.path=/my data/it's", "seed=4")
    found = hints(result, *given)
    words = {shlex.join(shlex.split(command)[:3]): shlex.split(command) for command in found}
    again = words["cmt run method=cmt"]
    assert again[2:] == [*given[:-1], f"seed={result.seed + 1}"]
    other = words["cmt run method=frozen"]
    assert other[2:] == ["method=frozen", "data=squad", "data.path=/my data/it's", "seed=4"]
    assert "cmt show 'runs/a b'" in found


def test_asking_is_offered_where_it_works(tmp_path: Path) -> None:
    result = run_toy(tmp_path)
    assert result.data["num_documents"] > 0
    assert any(command.startswith("cmt ask") for command in hints(result))
    labelled = dataclasses.replace(result, data={**result.data, "num_documents": 0})
    assert not any(command.startswith("cmt ask") for command in hints(labelled))
    moved = hints(result, method={"_target_": "cmt_cli.methods.gone.Gone"})
    assert not any(command.startswith("cmt ask") for command in moved)


def test_unknown_overrides_give_no_command_to_repeat(tmp_path: Path) -> None:
    result = run_toy(tmp_path)  # of a method that is not the default, so made with overrides, and none is recorded
    assert not any(command.startswith("cmt run") for command in hints(result))


def test_an_experiment_keeps_its_method(tmp_path: Path) -> None:
    found = hints(run_toy(tmp_path), "experiment=mac_paper")
    assert not any("method=" in command for command in found)
    assert "cmt run experiment=mac_paper seed=1 --config-dir ..." in found  # the toy's names are not the package's


def test_a_missing_baseline_gives_the_command_that_makes_it(tmp_path: Path) -> None:
    result = dataclasses.replace(run_toy(tmp_path), metrics={"a": Metric(None, "f", "needs the reference run x; `y`")})
    result = dataclasses.replace(result, method="ewc", data={"name": "squad"}, model={"name": "tiny"})
    assert "cmt run data=squad baselines=auto" in hints(result, "data=squad", "references=none")


def test_a_run_on_the_validation_split_is_labelled(tmp_path: Path) -> None:
    console = Console(width=100, file=io.StringIO(), record=True)
    result = run_toy(tmp_path, stream=toy_stream(split="validation"), loggers=[ConsoleLogger(console)])
    assert "VALIDATION split, no test result" in shown(result, tmp_path, width=120)
    assert "the VALIDATION split, so this is no test result" in console.export_text()
    assert json.loads((tmp_path / "result.json").read_text())["data"]["split"] == "validation"


def test_truncated_answers_are_told() -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    logger = ConsoleLogger(console)
    logger.row(0, {"aa/em": 0.0, "aa/eos_rate": 0.0})  # before the stream a model need not know when to stop
    logger.row(1, {"aa/em": 0.5, "aa/eos_rate": 0.97})
    assert "truncated" not in console.export_text(clear=False)
    logger.row(2, {"aa/em": 0.5, "aa/eos_rate": 0.66})
    assert "34% of these answers were truncated at max_new_tokens" in console.export_text()


def test_a_terminal_gets_shades(tmp_path: Path) -> None:
    text = shown(run_toy(tmp_path), tmp_path, terminal=True)
    assert "\x1b[38;5;" in text or "48;2;" in text


def test_large_matrices_are_thinned_and_empty_cells_are_dashes() -> None:
    rows = tuple(tuple(None if j > i else j / 100 for j in range(90)) for i in range(91))
    matrix = ScoreMatrix("em", tuple(f"t{j}" for j in range(90)), tuple(range(90)), rows)
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(matrix_table(matrix, 80))
    lines = [line for line in console.export_text().splitlines() if line.strip()]
    assert lines[0].split()[0] == "1" and lines[0].split()[-1] == "90"
    assert lines[1].split()[:3] == ["before", ".00", "-"] and lines[-1].split()[-1] == ".89"
    assert len(lines) < 25


def test_a_failed_run_shows_its_error_and_resume_command(tmp_path: Path) -> None:
    def fail(step: int) -> None:
        raise RuntimeError("out of luck\nat line 3")

    with pytest.raises(RuntimeError):
        run_toy(tmp_path, trainer=ToyTrainer(on_step=fail))
    result = read_result(tmp_path)
    assert result is not None
    text = shown(result, tmp_path)
    assert "failed" in text and "Error: out of luck" in text and f"cmt resume {tmp_path}" in text.replace("\n", "")


def test_without_a_terminal_progress_is_a_periodic_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    console = Console(width=80, file=io.StringIO(), record=True)
    display = ProgressDisplay(console)
    for done in range(0, 101):
        display("Meta-training", done, 100)
        clock[0] += 0.5
    lines = console.export_text().splitlines()
    assert lines[:3] == ["Meta-training 0/100", "Meta-training 10/100, 45 s left", "Meta-training 20/100, 40 s left"]
    assert len(lines) == 11


def test_a_resumed_stretch_estimates_from_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    console = Console(width=80, file=io.StringIO(), record=True)
    display = ProgressDisplay(console)
    display("Learning", 90, 100)
    clock[0] = 10.0
    display("Learning", 95, 100)
    assert console.export_text().splitlines()[-1] == "Learning 95/100, 10 s left"


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    file = io.StringIO()
    display = ProgressDisplay(Console(width=100, file=file, force_terminal=True))
    display("Task 1/2: answering questions", 1, 4)
    display("Task 2/2: learning", 0, 0)
    display.close()
    assert "answering questions" in file.getvalue()


def test_durations_and_sizes_read_like_speech() -> None:
    assert [duration(s) for s in (0.4, 59, 200, 7500)] == ["0 s", "59 s", "3 min 20 s", "2 h 05 min"]
    times = (0, 0.00045, 0.34, 0.9999, 12.5, 59.99, 80, 7500)
    assert [seconds(t) for t in times] == [
        *("0 s", "0.45 ms", "340 ms", "1 s", "12.5 s", "1 min 00 s", "1 min 20 s", "2 h 05 min"),
    ]
    assert [size(n) for n in (512, 1536, 5 * 2**20, 3 * 2**30)] == ["512 B", "1.5 KiB", "5.0 MiB", "3.00 GiB"]


def test_the_console_tells_of_each_row(tmp_path: Path) -> None:
    console = Console(width=100, file=io.StringIO(), record=True)
    result = run_toy(tmp_path, loggers=[ConsoleLogger(console)])
    text = console.export_text()
    last = result.matrices["em"].rows[3]
    assert f"After task 3: em {sum(last) / 3:.3f}" in text and "GENERATED" in text


def test_json_lines_of_several_runs_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "all" / "events.jsonl"
    for seed in (0, 1):
        run_toy(tmp_path / f"run-{seed}", seed=seed, loggers=[JsonLines(path=str(path))])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["run"] for line in lines if line["event"] == "finish"] == ["run-0", "run-1"]
    assert [line["task_index"] for line in lines if line["event"] == "row"] == [0, 1, 2, 3] * 2
