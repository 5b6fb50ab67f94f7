"""A config.yaml of somebody else builds nothing but the parts of a run; what would be called only leaves a marker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.command_line import cmt
from tests.robustness.folders import edited, finished, unfinished

pytestmark = pytest.mark.usefixtures("empty_folder")

MARKER = Path("executed")
WRITES = {"_target_": "cmt_cli.core.atomic.write_text", "path": str(MARKER), "content": ""}
LOGS = {"_target_": "cmt_cli.running.loggers.JsonLines", "path": str(MARKER)}


FOREIGN: dict[str, tuple[str, Any, str]] = {  # a key of the configuration, what is put there, what the error says
    "a helper as a group": ("logger", WRITES, "none of the classes and functions"),
    "a helper inside a part": ("evaluator.decoding", WRITES, "none of the classes and functions"),
    "a helper in a list": ("data.selection", [WRITES], "none of the classes and functions"),
    "a helper nobody builds": ("further", [{"deep": WRITES}], "none of the classes and functions"),
    "a private name": ("logger._target_", "cmt_cli.running.loggers._append", "none of the classes and functions"),
    "another part as a group": ("evaluator", LOGS, "allowed: Evaluator"),
    "another part in a part": ("evaluator.decoding", LOGS, "evaluator.decoding is a cmt_cli.running.loggers.JsonLines"),
    "a baseline that is no method": ("baseline_methods.joint", LOGS, "allowed: Method"),
    "a mapping as a part": ("evaluator.decoding", {"batch_size": 1}, "is a mapping without _target_"),
    "a group without target": ("logger", {"path": str(MARKER)}, "logger is a mapping without _target_"),
    "a function of the standard library": (
        "logger",
        {"_target_": "os.mkdir", "path": "executed"},
        "outside the trusted",
    ),
    "a method of a class": ("model._target_", "cmt_cli.core.decoding.Decoding.__init__", "modules lay elsewhere"),
    "another scheme's key": ("logger._partial_", True, "leading underscore"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_nothing_else_is_called(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    key, value, error = FOREIGN[name]
    folder = edited(unfinished(finished()), lambda config: put(config, key, value))
    for words in (["resume", str(folder)], ["ask", str(folder), "Who?"]):
        capsys.readouterr()
        assert cmt(*words) == 2
        assert error in capsys.readouterr().err
        assert not MARKER.exists()


def put(config: dict[str, Any], key: str, value: Any) -> None:
    """Put a value where a dotted key leads."""
    *parents, last = key.split(".")
    for parent in parents:
        config = config[parent]
    config[last] = value
