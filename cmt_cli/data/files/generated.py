"""Files of generated data: folders that appear whole or not at all and are marked, and writers of plain formats."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmt_cli.core.atomic import folder_beside
from cmt_cli.data.files.archives import rename_folder
from cmt_cli.data.files.kept_folders import is_whole, seal
from cmt_cli.data.files.origin import MARKER


def written(name: str, settings: Mapping[str, Any], cache: Path, write: Callable[[Path], None]) -> Path:
    """Return the folder of generated files that follows from settings, written by `write(folder)` unless it is there.

    It appears whole or not at all, and holds the mark of generated data. One that is damaged is made anew.
    """
    settings = {"layout": name, **settings, "generator": generator_version()}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    folder = cache / "generated" / f"{name}-{digest}"
    if is_whole(folder, cache):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder_beside(folder) as inner:
        write(inner)
        (inner / MARKER).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        seal(inner, folder, cache)
        rename_folder(inner, folder)
    return folder


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a csv file as pandas does: UTF-8, quotes only where they are needed."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one json object on each line."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def generator_version() -> str:
    """Return a hash of the code that makes and writes data: a changed generator gets a new folder."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
