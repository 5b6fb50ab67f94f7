"""What the Slurm launcher's settings and documentation say of preemptions is what submitit does."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import yaml

from cmt_cli.config import catalog

core = pytest.importorskip("submitit.core.job_environment")
SETTINGS = yaml.safe_load((catalog.conf_dir() / "hydra/launcher/submitit_slurm.yaml").read_text(encoding="utf-8"))


def counts_as_timeout(timeout_min: float, after_min: float, monkeypatch: pytest.MonkeyPatch) -> bool:
    now = 1e9
    monkeypatch.setattr(core.time, "time", lambda: now)
    handler = core.SignalHandler(SimpleNamespace(), SimpleNamespace(), SimpleNamespace(_timeout_min=timeout_min))
    monkeypatch.setattr(core.time, "time", lambda: now + 60 * after_min)
    timed_out: Callable[[], bool] = handler.has_timed_out
    return timed_out()


@pytest.mark.parametrize(
    ("timeout_min", "last_that_is_no_timeout"), [(10, None), (5, None), (30, 19.9), (50, 39.9), (240, 191.9)]
)
def test_late_preemptions_count_as_timeouts(
    timeout_min: float, last_that_is_no_timeout: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if last_that_is_no_timeout is None:
        assert counts_as_timeout(timeout_min, 0.1, monkeypatch)
    else:
        assert not counts_as_timeout(timeout_min, last_that_is_no_timeout, monkeypatch)
        assert counts_as_timeout(timeout_min, last_that_is_no_timeout + 0.2, monkeypatch)


def test_a_job_survives_more_than_three_late_preemptions() -> None:
    assert SETTINGS["max_num_timeout"] >= 20
