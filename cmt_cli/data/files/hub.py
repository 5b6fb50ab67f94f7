"""Downloads data sets of the Hugging Face hub at a pinned revision; the only import of `datasets`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.origin import Progress

SECONDS_TO_WAIT = "5"  # for the hub to answer; its library retries a few times


def load_splits(name: str, revision: str, progress: Progress) -> Mapping[str, Iterable[Mapping[str, Any]]]:
    """Return the splits of a hub data set, from the local cache where it is there.

    HF_HUB_OFFLINE and HF_ENDPOINT are respected. Raises UserError where the hub cannot be reached.
    """
    for variable in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        os.environ.setdefault(variable, SECONDS_TO_WAIT)
    progress(f"downloading {name}", 0, 1)
    from datasets import load_dataset

    try:
        splits = load_dataset(name, revision=revision)
    except (OSError, ValueError) as error:
        offline = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON")
        why = "HF_HUB_OFFLINE is set and it is not in the cache" if offline else f"the hub cannot be reached ({error})"
        raise UserError(
            f"{name} at revision {revision[:12]} could not be loaded: {why}. Repeat with a network connection, or copy "
            "the files from a machine that has one and give their place with data.path."
        ) from error
    progress(f"downloading {name}", 1, 1)
    return splits
