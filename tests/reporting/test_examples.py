"""Packed predictions hold what the run folders hold; `unpack` reads them as the page does."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.reporting.examples import MISSING, SCALE, Packed, pack
from tests.reporting.runs import write_run


def unzip(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def unpack(packed: Packed, run: str) -> dict[int, list[dict[str, Any]]]:
    shared, content, at, rows = json.loads(unzip(packed.shared)), unzip(packed.runs[run]), 0, {}
    while at < len(content):
        row, questions, count, num_metrics = struct.unpack_from("<4I", content, at)
        texts = struct.unpack_from(f"<{count}I", content, at + 16)
        scores = struct.unpack_from(f"<{count * num_metrics}H", content, at + 16 + 4 * count)
        rows[row] = [
            {
                "question": shared["questions"][question],
                "prediction": shared["texts"][texts[k]],
                "scores": {
                    name: None if scores[m * count + k] == MISSING else scores[m * count + k] / SCALE
                    for m, name in enumerate(shared["metrics"][:num_metrics])
                },
            }
            for k, question in enumerate(shared["lists"][questions])
        ]
        at += 16 + 4 * count + 2 * (count * num_metrics + count * num_metrics % 2)
    return rows


def test_every_prediction_comes_back(tmp_path: Path) -> None:
    def answer(row: int, task: int, question: int) -> tuple[str, float]:
        return f"row {row} 🎷 </script> \ud800 {task}{question}", question / 3

    folder = write_run(tmp_path / "a", "ewc", answer=answer)
    packed = pack({"ewc.0": folder}, "all", lambda run: None)
    rows = unpack(packed, "ewc.0")
    assert sorted(rows) == [0, 1, 2, 3] and packed.num_predictions == 48
    third = rows[2][5]
    assert third["question"] == ["task1", "q1-1", "Question 1.1?", " flute"]
    assert third["prediction"] == "row 2 🎷 </script> \ud800 11"
    assert third["scores"] == {"em": 0.3333, "f1": 0.1667}  # answer_words is no fraction


def test_runs_share_texts_and_questions(tmp_path: Path) -> None:
    folders = {f"m.{i}": write_run(tmp_path / str(i), "m", seed=i) for i in range(3)}
    shared = json.loads(unzip(pack(folders, "all", lambda run: None).shared))
    assert shared["texts"] == ["flute"] and len(shared["questions"]) == 12 and len(shared["lists"]) == 1


def test_questions_that_only_share_their_ids_are_told_apart(tmp_path: Path) -> None:
    folders = {p: write_run(tmp_path / p, "m", prompt=p + " {task}.{question}") for p in ("one", "other")}
    assert len(json.loads(unzip(pack(folders, "final", lambda run: None).shared))["questions"]) == 24


@pytest.mark.parametrize(("rows", "kept"), [("final", [3]), ("none", [])])
def test_rows_may_be_left_out(tmp_path: Path, rows: str, kept: list[int]) -> None:
    packed = pack({"m.0": write_run(tmp_path / "m", "m")}, rows, lambda run: None)
    assert [*unpack(packed, "m.0")] == kept if kept else not packed.runs


def test_metrics_that_only_some_tests_have_are_kept(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "m", "m", answer=lambda row, task, question: ("x", 0.5))
    path = folder / "predictions" / "row_003.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records[8:]:
        record["scores"] = {"bleu": 0.25}
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    rows = unpack(pack({"m.0": folder}, "final", lambda run: None), "m.0")[3]
    assert rows[0]["scores"] == {"em": 0.5, "f1": 0.25, "bleu": None}
    assert rows[-1]["scores"] == {"em": None, "f1": None, "bleu": 0.25}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "m", "m")
    (folder / "predictions" / "row_002.jsonl").write_text('{"test": "a"')
    with pytest.raises(UserError, match=r"row_002.jsonl' cannot be read .* --examples none"):
        pack({"m.0": folder}, "all", lambda run: None)
