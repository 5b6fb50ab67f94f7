"""Read a `.wandb` file: LevelDB's log framing around protocol buffers.

A header of 7 bytes, then blocks of 32,768 bytes (the header counts into the first) of records: crc, length, type
(1 whole, 2 first, 3 middle, 4 last part). Under 7 bytes left in a block are padding.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK = 32_768


def read_records(path: Path) -> Iterator[Record]:
    content, at, parts = path.read_bytes(), 7, b""
    assert struct.unpack("<4sHB", content[:7])[:2] == (b":W&B", 0xBEE1)
    while at + 7 <= len(content):
        left = _BLOCK - at % _BLOCK
        _, length, kind = struct.unpack("<IHB", content[at : at + 7]) if left >= 7 else (0, 0, 0)
        if kind == 0:
            at += left
            continue
        if at + 7 + length > len(content):
            return  # still being written
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def items(entries: Any) -> dict[str, Any]:
    """Return key-value entries of a record, nested keys joined with dots."""
    return {e.key or ".".join(e.nested_key): json.loads(e.value_json) for e in entries}


def read_run(path: Path) -> dict[str, Any]:
    """Return run, config, history rows, summary and metric definitions of one file."""
    found: dict[str, Any] = {"history": [], "summary": {}, "config": {}, "metrics": [], "artifacts": []}
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = record.run
            found["config"] |= items(record.run.config.update)
        elif kind == "history":
            found["history"].append(items(record.history.item) | {"_step": record.history.step.num})
        elif kind == "summary":
            found["summary"] |= items(record.summary.update)
        elif kind == "metric":
            found["metrics"].append(record.metric)
        elif kind == "artifact":
            found["artifacts"].append(record.artifact.name)
    return found
