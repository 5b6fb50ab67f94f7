"""Places in a run folder, none of which may lie outside of it, and what is read there, without torch or its lock.

A run folder may come from somebody else, and a link in it could lead what a command reads, writes or removes to any
file of the user. The folder itself may be a link, as `runs` on another disk is; nothing inside it may lead out.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.result import RunResult
from cmt_cli.data.files.regular_files import SpecialFileError

# The same safe subset in C, where libyaml is there: ten times as fast.
_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WANDB_LOG = re.compile(r"core-debug-\d+_\d+\.log")


def inside(folder: Path, *names: str) -> Path:
    """Return a place in a run folder; raise UserError where a link on the way there leads out of the folder."""
    path = folder
    for name in names:
        path = path / name
        if path.is_symlink():
            _refuse_way_out(path, folder)
    if path.exists() and not path.is_dir() and not path.is_file():
        raise SpecialFileError(path, path.stat().st_mode)
    return path


def refuse_links(folder: Path) -> None:
    """Raise UserError where any link in a run folder leads out of it; commands that write or load a run call it first.

    A folder that is not there yet has none.
    """
    for link in _links(folder):
        _refuse_way_out(link, folder)


def _links(folder: Path) -> Iterator[Path]:
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        yield Path(entry.path)
                    elif entry.is_dir():
                        waiting.append(entry.path)
                    elif not entry.is_file():  # reading a pipe would hang
                        raise SpecialFileError(Path(entry.path), entry.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):  # not there, or removed by the process that writes the run
            continue


def _is_of_wandb(place: Path, target: Path) -> bool:
    """Say whether a link is the one that the W&B client makes to its own log, which nothing here opens."""
    folders, name = place.parts[::2], place.parts[-1]
    return folders == ("wandb", "logs") and name == "debug-core.log" and bool(_WANDB_LOG.fullmatch(target.name))


def _refuse_way_out(link: Path, folder: Path) -> None:
    target = Path(os.path.realpath(link))
    if not target.is_relative_to(os.path.realpath(folder)) and not _is_of_wandb(link.relative_to(folder), target):
        raise UserError(
            f"'{link}' is a link that leads out of the folder '{folder}', to '{target}'. Nothing is read or written "
            "there: put what belongs to the run in the link's place, or remove the link."
        )


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
