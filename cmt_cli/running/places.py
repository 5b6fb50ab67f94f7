"""Places in a run folder, none of which may lie outside of it.

A run folder may come from somebody else, and a link in it could lead what a command reads, writes or removes to any
file of the user. The folder itself may be a link, as `runs` on another disk is; nothing inside it may lead out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from cmt_cli.core.exceptions import UserError

_WANDB_LOG = re.compile(r"core-debug-\d+_\d+\.log")


def inside(folder: Path, *names: str) -> Path:
    """Return a place in a run folder; raise UserError where a link on the way there leads out of the folder."""
    path = folder
    for name in names:
        path = path / name
        if path.is_symlink():
            _refuse_way_out(path, folder)
    return path


def refuse_links(folder: Path) -> None:
    """Raise UserError where any link in a run folder leads out of it; commands that write or load a run call it first.

    A folder that is not there yet has none.
    """
    for link in _links(folder):
        _refuse_way_out(link, folder)


def _links(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):  # not there, or removed by the process that writes the run
        return
    for entry in entries:
        if entry.is_symlink():
            yield Path(entry.path)
        elif entry.is_dir():
            yield from _links(Path(entry.path))


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
