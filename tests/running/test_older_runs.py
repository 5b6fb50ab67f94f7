"""A run folder of a version whose modules lay elsewhere is refused with what can be done instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cmt_cli.core.exceptions import UserError
from cmt_cli.running import job
from cmt_cli.running.identity import config_hash
from cmt_cli.running.older_runs import missing_modules, run_command

MOVED: dict[str, Any] = {
    "method": {"_target_": "cmt_cli.methods.frozen.Frozen"},
    "data": {"generated": [{"_target_": "cmt_cli.data.world.stand_in.StandIn"}]},
    "trusted_targets": [],
    "hydra": {
        "runtime": {"choices": {"method": "frozen", "data": "squad", "model": "tiny"}},
        "overrides": {"task": ["method=frozen", "data.path=/my data", "references=auto"]},
    },
}


def test_loading_a_moved_run_advises_to_repeat_its_command(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(MOVED))
    with pytest.raises(UserError) as refused:
        job.load(tmp_path, ())
    message = str(refused.value)
    assert "made by another version" in message and "cmt_cli.methods.frozen" in message
    assert message.endswith("repeat its command: cmt run method=frozen 'data.path=/my data' baselines=auto")


def test_only_removed_modules_of_the_package_are_missing() -> None:
    assert missing_modules(MOVED) == ["cmt_cli.methods.frozen"]
    assert missing_modules({"method": {"_target_": "mine.methods.Gone"}}) == []


def test_a_command_is_quoted_for_the_shell() -> None:
    assert run_command(["data.order=[a, b]"]) == "cmt run 'data.order=[a, b]'"


def test_former_names_of_baselines_are_no_settings() -> None:
    settings = {"method": {"rate": 1}}
    assert config_hash({**settings, "references": "auto", "reference_methods": {"joint": 1}}) == config_hash(settings)
