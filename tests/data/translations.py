"""Settings and file writers that the translation tests share."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cmt_cli.core.stream import Stream
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format, Limits
from cmt_cli.data.translation.parallel import Directions
from cmt_cli.data.translation.world_translation import Translations

TEMPLATE = "{source_language} to {target_language}: {source} ="


def lines_into(path: Path, lines: Sequence[str], *, end: str = "\n", packed: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = "".join(line + end for line in lines).encode()
    path.write_bytes(gzip.compress(raw) if packed else raw)
    return path


def common(order: Sequence[str], *, missing_tasks: str = "error") -> dict[str, Any]:
    """Return settings that take everything, scored by exact match."""
    return {
        "directions": Directions(order=order, missing_tasks=missing_tasks, languages={"en": "English", "de": "German"}),
        "split_policy": SplitPolicy(validation_share=0.25, overlap="drop", seed=0),
        "limits": Limits(stream_split="test", max_train=None, max_validation=None, max_test=None, seed=0),
        "format": Format(prompt_template=TEMPLATE, metric="em", gives_task=False),
        "generated": generated(order),
    }


def generated(directions: Sequence[str]) -> Translations:
    return Translations(directions=directions, num_train=12, num_validation=4, num_test=6, seed=0)


def built(make: Callable[..., Stream], path: Path, *, source: str = "real", **settings: Any) -> Stream:
    """Build a stream from the files at `path`, or the stand-in with `path` as its cache."""
    default = str(path if source == "real" else path / "none")
    return make(
        path=default,
        default_path=default,
        source=source,
        auto_may_generate=False,
        cache=str(path),
        on_bad_row=settings.pop("on_bad_row", "error"),
        **settings,
    )
