"""Read a run folder, without loading torch and without its lock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.result import RunResult
from cmt_cli.running.places import inside

# The same safe subset in C, where libyaml is there: ten times as fast.
_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_result(folder: Path) -> RunResult | None:
    """Return a folder's `result.json`, or None where there is none. Raises UserError for another schema version."""
    path = inside(folder, "result.json")
    if not path.exists():
        return None
    try:
        return RunResult.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"'{path}' cannot be read ({error}). It was written by another version or changed by hand; "
            "move the folder away and run again."
        ) from error


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Return what was logged; a torn last line, as a killed process leaves it, is skipped."""
    path = inside(folder, "events.jsonl")
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [json.loads(line) for line in lines[:-1]]


def read_predictions(folder: Path, row: int) -> list[dict[str, Any]]:
    """Return one row's predictions; row 0 is before the stream."""
    text = predictions_path(folder, row).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def predictions_path(folder: Path, row: int) -> Path:
    """Return the file of one row's predictions."""
    return inside(folder, "predictions", f"row_{row:03d}.jsonl")


def read_config(folder: Path) -> dict[str, Any]:
    """Return a run's resolved config; raise UserError for a file that is none."""
    path = inside(folder, "config.yaml")
    try:
        return dict(yaml.load(path.read_text(encoding="utf-8"), _LOADER))
    except (ValueError, TypeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"'{path}' is no config ({first}). A run's config.yaml must not be changed by hand.") from error


def read_error(folder: Path) -> str | None:
    """Return the first line of the error that ended a failed run."""
    error = json.loads(inside(folder, "result.json").read_text(encoding="utf-8")).get("error")
    return None if error is None else str(error)
