"""How a base model is named so that transformers finds it without this package: a hub id and commit, or a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmt_cli.models.model_digests import EMBEDDED
from cmt_cli.models.model_files import commit_of, config_folder, gguf_file
from cmt_cli.models.prepared import origin_of


@dataclass(frozen=True, slots=True)
class BaseModel:
    """What `from_pretrained` takes: `revision` is None for a folder. `folder` holds the files here."""

    name: str
    revision: str | None
    folder: Path


def base_model(settings: Mapping[str, Any]) -> BaseModel | None:
    """Return the base model of a run's model settings, whose files are here.

    None where `from_pretrained` cannot load the same weights by a name: a GGUF file, a model that begins with an
    adapter, another package's.
    """
    given, revision = settings.get("name_or_path"), str(settings.get("revision") or "main")
    if settings.get("adapter") is not None:
        return None
    if settings.get("embedded") is True:
        return BaseModel(str(EMBEDDED), None, EMBEDDED)
    if not isinstance(given, str) or gguf_file(given) is not None:
        return None
    folder = config_folder(given, revision)
    if folder is None:
        return None
    origin, source = origin_of(folder), settings.get("source")
    if origin is not None and isinstance(source, Mapping) and origin.revision == source.get("revision"):
        return BaseModel(origin.name, origin.revision, folder)  # copied from the hub as it is
    if commit_of(folder) != "local":
        return BaseModel(given, commit_of(folder), folder)
    return BaseModel(str(folder.resolve()), None, folder)
