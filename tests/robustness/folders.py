"""Run folders as they might come from somebody else; what they would execute only leaves a marker file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command_line import SMALL, cmt
from tests.models.checkpoints import save_checkpoint

REMOTE = """from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({marker!r}).touch()
class MarkedConfig(LlamaConfig):
    pass
class MarkedModel(LlamaForCausalLM):
    config_class = MarkedConfig
"""


PLACES = (
    *("config.yaml", "result.json", "scores.csv", "events.jsonl", "timings.json", ".lock", ".lock.claim"),
    *("predictions", "predictions/row_001.jsonl", "steps", "figures", "memory", "memory/bank"),
    *("checkpoint", "checkpoint/fit", "checkpoint/state", "checkpoint/state/1", "checkpoint/state/latest"),
    *("wandb", "wandb/run_id.txt", "wandb/offline-run-1"),
)
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


def finished(*overrides: str) -> Path:
    """Make a run of seconds in the current folder; return its folder."""
    before = set(Path("runs").glob("*/result.json"))
    assert cmt("run", *SMALL, *(overrides or ("method=bm25",))) == 0
    (record,) = set(Path("runs").glob("*/result.json")) - before
    return record.parent


@contextmanager
def made_in(place: Path, *overrides: str) -> Iterator[Path]:
    """Make a run of seconds in a folder of its own, for a fixture that tests take copies of; give the run's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("CMT_CACHE", str(place / "cache"))
        patch.setattr("sys.excepthook", None)
        yield finished(*overrides).absolute()


def edited(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change a run's config.yaml, as whoever sends a folder can; return the folder."""
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))
    return folder


def unfinished(folder: Path) -> Path:
    """Let a run count as interrupted, so that `cmt resume` has work to do."""
    path = folder / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "interrupted"}))
    return folder


def model_with_code(folder: Path, marker: Path) -> Path:
    """Save a small model whose repository holds code; executing it leaves `marker`."""
    save_checkpoint(folder, "llama")
    config = json.loads((folder / "config.json").read_text())
    module = "configuration_marked"
    config["auto_map"] = {"AutoConfig": f"{module}.MarkedConfig", "AutoModelForCausalLM": f"{module}.MarkedModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_marked.py").write_text(REMOTE.format(marker=str(marker)))
    return folder


def put(config: dict[str, Any], key: str, value: Any) -> None:
    """Put a value where a dotted key leads."""
    *parents, last = key.split(".")
    for parent in parents:
        config = config[parent]
    config[last] = value


def lead_out(folder: Path, place: str) -> Path:
    """Put a link in a place of a run folder; return what it leads to, which lies outside and holds what was there."""
    outside = folder.parents[1] / "outside"
    outside.mkdir()
    target, link = outside / "precious", folder / place
    if link.exists():
        shutil.move(link, target)
    else:
        target.mkdir()
        (target / "kept.txt").write_text("kept")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    return outside
