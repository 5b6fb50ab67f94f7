"""Any data set of the hub as the library `datasets` loads it, kept in plain files; only here is `datasets`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cmt_cli.core.atomic import note_use, published
from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.fetched import Progress
from cmt_cli.data.files.generated import write_jsonl
from cmt_cli.data.files.kept_folders import is_whole, seal
from cmt_cli.data.files.table_rows import jsonable

FOLDER = "hub"  # below the cache
SECONDS_TO_WAIT = "5"  # for the hub to answer; its library retries a few times


def load_splits(
    name: str, revision: str, progress: Progress, *, subset: str | None = None
) -> Mapping[str, Iterable[Mapping[str, Any]]]:
    """Return the splits of a hub data set, from the local cache where it is there; `subset` is its configuration.

    HF_HUB_OFFLINE and HF_ENDPOINT are respected. Raises UserError where the hub cannot be reached or refuses.
    """
    for variable in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        os.environ.setdefault(variable, SECONDS_TO_WAIT)
    progress(f"downloading {name}", 0, 1)
    from datasets import load_dataset

    try:
        splits = load_dataset(name, subset, revision=revision)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a data set that is a script
        raise UserError(
            f"{name} at revision {revision[:12]} could not be loaded: {_why(error)}. Repeat with a network connection, "
            "or copy the files from a machine that has one and give their place with data.path."
        ) from error
    progress(f"downloading {name}", 1, 1)
    return splits


def _why(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, ConnectionError | TimeoutError) and _is_offline():
        return "HF_HUB_OFFLINE is set and it is not in the cache"
    return f"the hub cannot be reached ({text})" if isinstance(error, OSError) else text


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON")


def stored(name: str, revision: str, subset: str | None, cache: Path) -> Path:
    """Return a folder below `cache` with a jsonl file for each split of a hub data set, downloaded once.

    Class labels are their names there, null where the row has none; images and other bytes are left out.
    """
    parts = [name.replace("/", "--"), *([subset.replace("/", "--")] if subset else []), revision[:12]]
    folder = cache / FOLDER / "-".join(parts)
    if is_whole(folder, cache):
        note_use(folder)
        return folder
    splits = load_splits(name, revision, lambda what, done, total: None, subset=subset)
    with published(folder) as inner:
        for split, rows in splits.items():
            write_jsonl(inner / f"{split}.jsonl", _plain_rows(rows))
        seal(inner, folder, cache)
    return folder


def _plain_rows(rows: Any) -> Iterator[dict[str, Any]]:
    from datasets import Audio, ClassLabel, Image, Value, Video

    features = rows.features
    labels = {name: feature.names for name, feature in features.items() if isinstance(feature, ClassLabel)}
    binary = [
        name
        for name, feature in features.items()
        if isinstance(feature, Audio | Image | Video) or (isinstance(feature, Value) and "binary" in feature.dtype)
    ]
    for row in rows.remove_columns(binary):
        named = {
            key: names[row[key]] if row[key] is not None and row[key] >= 0 else None for key, names in labels.items()
        }
        yield {key: jsonable(value) for key, value in {**row, **named}.items()}
