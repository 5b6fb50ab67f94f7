"""Run folders as they might come from somebody else; what they would execute only leaves a marker file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def finished(*overrides: str) -> Path:
    """Make a run of seconds in the current folder; return its folder."""
    before = set(Path("runs").glob("*/result.json"))
    assert cmt("run", *SMALL, *(overrides or ("method=bm25",))) == 0
    (record,) = set(Path("runs").glob("*/result.json")) - before
    return record.parent


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
