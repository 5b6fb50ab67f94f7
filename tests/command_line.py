"""The command line as tests call it: in this process, with runs of seconds; `empty_folder` is where."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.commands import app
from cmt_cli.config.check import Request, check
from cmt_cli.running.job import Job

SMALL = (
    "trainer=smoke",
    "logger=none",
    "model.device=cpu",
    "data.num_tasks=2",
    "data.generated.num_train_documents=6",
    "data.generated.num_validation_documents=2",
    "data.generated.num_test_documents=4",
    "evaluator.decoding.max_new_tokens=3",
)


def cmt(*arguments: str) -> int:
    """Run the command line in this process; return its exit code."""
    with pytest.raises(SystemExit) as left:
        app.main(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code


def job(*overrides: str, config_dir: Path | None = None) -> Job:
    """Return the checked job of a run's overrides."""
    return Job.of(check(Request(overrides, config_dir=config_dir)))
