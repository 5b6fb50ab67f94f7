"""What a search may be judged by."""

from __future__ import annotations

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.result import Metric, RunResult

trials = pytest.importorskip("cmt_cli.sweeps.trials", reason="needs optuna")


def result(split: str) -> RunResult:
    metrics = {"aa": Metric(0.25, "aa"), "retention": Metric(None, "retention", "the score right after task 1 is 0")}
    data = {"name": "toy", "split": split}
    return RunResult("ewc", data, {}, 0, "hash", "complete", "em", metrics=metrics)


def test_a_trial_is_judged_on_the_validation_split_only() -> None:
    assert trials.objective(result("validation"), "aa") == 0.25
    with pytest.raises(UserError, match="test split"):
        trials.objective(result("test"), "aa")


def test_a_missing_metric_is_reported_with_its_reason() -> None:
    with pytest.raises(UserError, match="the run has aa, retention"):
        trials.objective(result("validation"), "fgt")
    with pytest.raises(UserError, match="the score right after task 1 is 0"):
        trials.objective(result("validation"), "retention")
