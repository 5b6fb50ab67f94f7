"""Places in a run folder, none of which may lie outside of it, and what is read there, without torch or its lock.

A run folder may come from somebody else, and a link in it could lead what a command reads, writes or removes to any
file of the user. The folder itself may be a link, as `runs` on another disk is; nothing inside it may lead out.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from cmt_cli.core.exceptions import CmtWarning, UserError, counted
from cmt_cli.core.result import RunResult
from cmt_cli.data.files.regular_files import SpecialFileError

# The same safe subset in C, where libyaml is there: ten times as fast.
_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OTHER_VERSION = (
    "It was written by another version, cut or changed by hand: put it back, or remove it and repeat "
    "the run, which makes it from the folder's other files."
)
_AGAIN = (
    "Put the file back; or move the run's folder away and make the run again, since earlier answers cannot be repeated."
)
_PREDICTION: Mapping[str, type] = {
    **dict.fromkeys(("test", "id", "prompt", "target", "prediction"), str),
    "references": list,
    "scores": dict,
}
_MAX_DEPTH, _MAX_NODES = 100, 1_000_000  # of a configuration; one of conf/ has some 10 and some 500
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


@contextmanager
def reading(path: Path, advice: str) -> Iterator[None]:
    """Let what comes up while a file of a run is read and understood be one UserError that names it.

    Errors of the system travel: they say nothing about the file.
    """
    try:
        yield
    except UserError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        kind = "" if isinstance(error, ValueError | yaml.YAMLError) else f"{type(error).__name__}: "
        raise UserError(f"'{path}' cannot be read ({kind}{lines[0]}). {advice}") from error


def read_result(folder: Path) -> RunResult | None:
    """Return a folder's `result.json`, or None where there is none. Raises UserError for another schema version."""
    path = inside(folder, "result.json")
    if not path.exists():
        return None
    with reading(path, _OTHER_VERSION):
        return RunResult.from_json(json.loads(path.read_text(encoding="utf-8")))


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Return what was logged; a torn last line, as a killed process leaves it, is skipped, others with a warning."""
    path = inside(folder, "events.jsonl")
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    found = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            found.append(record)
        else:
            warnings.warn(f"'{path}', line {number} is no event and is left out.", CmtWarning, stacklevel=2)
    return found


def read_predictions(folder: Path, row: int, *, needed: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return one row's predictions, each with the keys `needed`; row 0 is before the stream.

    Raises UserError where the file is gone, cut or changed.
    """
    path = predictions_path(folder, row)
    if not path.is_file():
        raise UserError(f"The predictions of row {row} are gone: '{path}' is not there. {_AGAIN}")
    with reading(path, _AGAIN):
        lines = path.read_text(encoding="utf-8").split("\n")
    records = []
    for number, line in enumerate(lines, start=1):
        if line:
            with reading(Path(f"{path}:{number}"), _AGAIN):
                records.append(_checked_prediction(json.loads(line), needed))
    expected = num_predictions(folder, row)
    if lines[-1] or expected not in (None, len(records)):
        whole = "" if expected is None else f" of {expected}"
        raise UserError(f"'{path}' is cut: {counted(len(records), 'line')}{whole} can be read. {_AGAIN}")
    return records


def _checked_prediction(record: Any, needed: Sequence[str]) -> dict[str, Any]:
    found = dict(record)
    if missing := [key for key in needed if key not in found]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for key, kind in _PREDICTION.items():
        if key in found and not isinstance(found[key], kind):
            raise TypeError(f"{key} is a {type(found[key]).__name__}")
    if not all(isinstance(text, str) for text in found.get("references", ())):
        raise TypeError("references are texts")
    for value in found.get("scores", {}).values():
        if value is not None and not (isinstance(value, int | float) and isfinite(value)):
            raise TypeError(f"{value!r} is no score")
    return found


def num_predictions(folder: Path, row: int) -> int | None:
    """Return how many answers were given for a row, as its phase has noted; None where nothing tells."""
    path = inside(folder, "timings.json")
    if not path.is_file():
        return None
    with reading(path, "Remove it: it tells what each phase of the run used, and nothing else needs it."):
        phase = json.loads(path.read_text(encoding="utf-8")).get(f"evaluate:{row - 1}", {})
        return int(phase["questions"]) if "questions" in phase else None


def predictions_path(folder: Path, row: int) -> Path:
    """Return the file of one row's predictions."""
    return inside(folder, "predictions", f"row_{row:03d}.jsonl")


def read_config(folder: Path) -> dict[str, Any]:
    """Return a run's resolved config; raise UserError for a file that is none."""
    path = inside(folder, "config.yaml")
    with reading(path, "A run's config.yaml must not be changed by hand: put it back, or make the run again."):
        config = dict(yaml.load(path.read_text(encoding="utf-8"), _LOADER))
        _refuse_tangle(config)
        return config


def _refuse_tangle(config: dict[str, Any]) -> None:
    """Raise ValueError for what yaml's references make and no run writes: nodes inside themselves, or far too many."""
    waiting: list[tuple[Any, int]] = [(config, 0)]
    num_nodes = 0
    while waiting:
        node, depth = waiting.pop()
        num_nodes += 1
        if depth > _MAX_DEPTH or num_nodes > _MAX_NODES:
            raise ValueError("its references lead to themselves, or to more values than a configuration has")
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting += ((value, depth + 1) for value in inner)


def read_error(folder: Path) -> str | None:
    """Return the first line of the error that ended a failed run."""
    path = inside(folder, "result.json")
    with reading(path, _OTHER_VERSION):
        error = json.loads(path.read_text(encoding="utf-8")).get("error")
        return None if error is None else str(error)
