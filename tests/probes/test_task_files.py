"""What a task file would execute is found by reading it, and refused unless the command line allows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.config import trust
from cmt_cli.core.exceptions import UserError
from cmt_cli.probes.task_files import checked_file, files_below, refuse_code
from tests.probes.harness_files import task_file

METRICS = frozenset({"acc", "acc_norm", "exact_match"})


def refused(text: str, folder: Path) -> str:
    path = folder / "task.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"probes\.trust_code=true") as error:
        refuse_code([path], metrics=METRICS, own=folder / "harness")
    return str(error.value)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("process_docs: !function mine.process", "the function mine.process"),
        ("metric_list: [{metric: !function mine.score}]", "the function mine.score"),
        ("metric_list: [{metric: rouge}]", "the metric 'rouge' of the package evaluate"),
        ("metric_list: [{metric: acc, hf_evaluate: true}]", "the metric 'acc' of the package evaluate"),
        ("unsafe_code: true", "marks as unsafe"),
    ],
)
def test_what_executes_code_is_named_and_refused(line: str, what: str, tmp_path: Path) -> None:
    assert what in refused(f"task: mine\n{line}\n", tmp_path)


def test_an_included_file_counts_as_the_files_own(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("task: base\ndoc_to_text: !function mine.text\n")
    assert "base.yml" in refused("task: mine\ninclude: base.yml\n", tmp_path)


def test_plain_tasks_and_the_harnesss_own_pass(tmp_path: Path) -> None:
    own = tmp_path / "harness" / "task.yaml"
    own.parent.mkdir()
    own.write_text("task: own\ndoc_to_text: !function utils.text\n")
    (tmp_path / "mine.yaml").write_text("task: mine\ninclude: harness/task.yaml\nmetric_list: [{metric: acc}]\n")
    plain = Path(task_file(tmp_path / "plain", "choice"))
    refuse_code([own, tmp_path / "mine.yaml", plain], metrics=METRICS, own=own.parent)


@pytest.mark.parametrize(
    ("text", "message"), [("task: [", "can be read"), ("a: 1", "no `task:`"), ("- 1", "holds a list")]
)
def test_a_file_that_is_no_task_is_told(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        checked_file(str(tmp_path / "mine.yaml"))


def test_places_without_task_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no task file 'gone\.yaml'"):
        checked_file("gone.yaml")
    with pytest.raises(UserError, match="no folder with task files"):
        files_below(str(tmp_path / "gone"))


def test_task_files_of_a_loaded_run_need_consent() -> None:
    probes = {"tasks": ["arc_easy", "mine.yaml"], "include_path": "folder", "trust_code": True}
    assert set(trust.executed({"probes": probes})) == {"mine.yaml", "folder", "probes.trust_code"}
    assert trust.executed({"probes": {"tasks": ["arc_easy"], "include_path": None, "trust_code": False}}) == {}
    with pytest.raises(UserError, match=r"--trust mine\.yaml --trust folder --trust probes\.trust_code"):
        trust.refuse_untrusted({"probes": probes}, [], path=Path("config.yaml"))
