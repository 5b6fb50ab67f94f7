"""Pack the predictions of many runs for a web page: each text once, each run on its own, unpacked on demand.

One entry per run is gzip of `[row, question list, prediction numbers..., scores...]`, numbers as little-endian uint32
and scores as uint16, fractions times 10,000 with 65,535 for none. Only metrics whose scores are fractions are packed.
Texts, questions and question lists are JSON, gzipped too. All are base64, so that nothing in a page can be read as
markup.

    texts       every prediction, by number
    questions   [test, id, prompt, target], by number; runs whose questions agree share them
    lists       the questions of one row of one run, in its order, by number
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmt_cli.core.exceptions import UserError
from cmt_cli.running.run_files import predictions_path, read_predictions

SCALE, MISSING = 10_000, 65_535
ROWS = ("all", "final", "none")
_MAX_METRICS = 8


@dataclass(slots=True)
class Packed:
    """Packed predictions, ready to be embedded: base64 by run id, and what they share."""

    shared: str
    runs: dict[str, str]
    num_predictions: int


@dataclass(slots=True)
class _Numbers:
    """Numbers for values, in the order in which they were first seen."""

    by_value: dict[Any, int] = field(default_factory=dict)

    def of(self, value: Any) -> int:
        return self.by_value.setdefault(value, len(self.by_value))


class Packer:
    """Collect the predictions of runs that may be compared."""

    def __init__(self) -> None:
        """Begin without texts."""
        self._texts, self._questions, self._lists = _Numbers(), _Numbers(), _Numbers()
        self._metrics: list[str] = []
        self._judged: set[str] = set()
        self._runs: dict[str, str] = {}
        self.num_predictions = 0

    def add(self, run_id: str, folder: Path, rows: str) -> None:
        """Read one run's rows: "all", "final", or "none"; raise UserError for a file that cannot be read."""
        parts = [self._row(row, _read(folder, row)) for row in _chosen(folder, rows)]
        if parts:
            self._runs[run_id] = _zipped(b"".join(parts))

    def packed(self) -> Packed:
        """Return what was collected."""
        shared = {
            "metrics": self._metrics,
            "texts": list(self._texts.by_value),
            "questions": list(self._questions.by_value),
            "lists": list(self._lists.by_value),
        }
        return Packed(_zipped(json.dumps(shared).encode()), self._runs, self.num_predictions)

    def _row(self, row: int, records: Sequence[Mapping[str, Any]]) -> bytes:
        self.num_predictions += len(records)
        questions = tuple(self._questions.of(_question(record)) for record in records)
        answers = [self._texts.of(_text(record.get("prediction"))) for record in records]
        self._learn_metrics(records)
        scores = [_coded(record.get("scores", {}).get(name)) for name in self._metrics for record in records]
        head = array("I", [row, self._lists.of(questions), len(records), len(self._metrics), *answers])
        return _little(head) + _little(array("H", scores + [0] * (len(scores) % 2)))

    def _learn_metrics(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add the metrics that occur for the first time, as long as each score is a fraction."""
        names = dict.fromkeys(name for record in records for name in record.get("scores", {}))
        for name in names:
            if name not in self._judged and len(self._metrics) < _MAX_METRICS:
                self._judged.add(name)
                if _are_fractions(record.get("scores", {}).get(name) for record in records):
                    self._metrics.append(name)


def pack(runs: Mapping[str, Path], rows: str, progress: Callable[[str], None]) -> Packed:
    """Pack the predictions of runs by id; `progress` is told each run before it is read."""
    packer = Packer()
    for run_id, folder in runs.items():
        progress(run_id)
        packer.add(run_id, folder, rows)
    return packer.packed()


def _chosen(folder: Path, rows: str) -> list[int]:
    if rows == "none":
        return []
    found = sorted(
        int(path.stem.removeprefix("row_")) for path in predictions_path(folder, 0).parent.glob("row_*.jsonl")
    )
    return found[-1:] if rows == "final" else found


def _read(folder: Path, row: int) -> list[dict[str, Any]]:
    try:
        return read_predictions(folder, row)
    except (OSError, ValueError) as error:
        path = predictions_path(folder, row)
        raise UserError(
            f"'{path}' cannot be read ({error}). Repeat the run, or leave predictions out with --examples none."
        ) from error


def _question(record: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return tuple(_text(record.get(name)) for name in ("test", "id", "prompt", "target"))  # type: ignore[return-value]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _are_fractions(values: Iterable[float | None]) -> bool:
    return all(value is None or 0.0 <= value <= 1.0 for value in values)


def _coded(value: float | None) -> int:
    return MISSING if value is None or not 0.0 <= value <= 1.0 else round(value * SCALE)


def _little(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _zipped(content: bytes) -> str:
    # Without a time in its header, so that the same runs give the same page.
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()
