"""A model of another size class than `size` is told before it is trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from cmt_cli.running.job import Job
from cmt_cli.running.job_run import size_warning
from tests import command_line


def learner(num_parameters: int) -> Any:
    model = nn.Module()
    model.register_parameter("weight", nn.Parameter(torch.empty(num_parameters, device="meta"), requires_grad=False))
    return SimpleNamespace(model=model)


@pytest.mark.parametrize(
    ("size", "millions", "part"),
    [
        ("small", 6_738, "6,738.0 million parameters, above 500: what size=small chooses"),
        ("large", 134, "134.0 million parameters, at most 500"),
        ("embedded", 2, None),
        ("small", 500, None),
        ("large", 6_738, None),
    ],
)
def test_another_class_is_told_with_the_setting(size: str, millions: int, part: str | None) -> None:
    made = command_line.job("method=frozen", f"size={size}")
    warning = size_warning(Job(made.config, made.names), learner(millions * 10**6))  # as if the model's yaml had it
    if part is None:
        assert warning is None
    else:
        assert warning is not None and part in warning and "size=embedded, small or large" in warning


def test_a_size_that_was_given_is_not_questioned() -> None:
    assert size_warning(command_line.job("method=frozen", "size=small"), learner(1)) is None


def test_an_older_runs_record_has_no_size() -> None:
    job = command_line.job("method=frozen")
    older = Job({key: value for key, value in job.config.items() if key != "size"}, job.names)
    assert size_warning(older, learner(1)) is None
