"""Settings and file writers that the instruction tests share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cmt_cli.data.instructions.world_instructions import Instructions
from cmt_cli.data.labelled.held_out import HeldOut
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format, Limits

HELD_OUT = HeldOut(share=0.25, seed=0)


def put_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def common(
    tasks: Sequence[str | int], template: str, metric: str | Mapping[str, str] = "em", *, missing_tasks: str = "error"
) -> dict[str, Any]:
    """Return settings that take everything."""
    return {
        "missing_tasks": missing_tasks,
        "split_policy": SplitPolicy(validation_share=0.25, overlap="drop", seed=0),
        "limits": Limits(stream_split="test", max_train=None, max_validation=None, max_test=None, seed=0),
        "format": Format(prompt_template=template, metric=metric, gives_task=False),
        "generated": Instructions(tasks=tasks, num_train=12, num_validation=4, num_test=6, seed=0),
    }
