"""The command line as tests call it: in this process, with runs of seconds; `empty_folder` is where."""

from __future__ import annotations

import pytest

from cmt_cli.commands import app

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
