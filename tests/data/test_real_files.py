"""Every fine-tuning stream on real files, through its configuration: the sizes of its tasks, and whole runs.

The numbers were counted without the readers, by a few lines of plain csv, json and regular expressions: rows of a
split, less rows that occur twice or are queried in a later split, of any task. Subsets hold fewer tasks than their
orders name.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from cmt_cli.commands import app, stream_files
from cmt_cli.config import catalog, check, targets
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from tests.data.labelled_settings import sizes

SKIP = ("data.missing_tasks=skip", "data.on_bad_row=skip")
DIRECTIONS = "data.directions.missing_tasks=skip"
# name: folder below the real files, overrides, tasks, rows that are learned from (validation included), test rows
STREAMS: dict[str, tuple[str, tuple[str, ...], int, int, int]] = {
    "clinc150": ("text_classification/clinc150", (), 15, 10_499 + 2100, 3150),
    "banking77": ("text_classification/banking77", (), 7, 7393, 2280),
    "labelled": ("text_classification/banking77", ("data.columns.answer=category",), 2, 7393, 2280),
    "long_sequence": ("text_classification/CL_Benchmark", SKIP, 14, 5455 + 1207, 2072),
    "crossner": ("ner/crossner", ("data.order=[politics,science,music]",), 3, 486 + 1339, 1659),
    "wnut_mit": ("ner", (), 3, 2311 + 1009 + 1497 + 1500, 1700),
    "fewrel_10x8": ("relation_extraction/fewrel", ("data.labels_per_task=null",), 10, 11 * 160, 11 * 40),
    "fewrel_8x10": ("relation_extraction/fewrel", ("data.labels_per_task=null",), 8, 11 * 160, 11 * 40),
    "semeval2010": ("relation_extraction/semeval2010_task8", (), 5, 2499, 600),
    "webnlg": ("relation_extraction/webnlg", (), 4, 4304 + 719, 717),
    "multi30k": ("machine_translation/multi30k", (), 2, 2 * (3000 + 300), 2 * 500),
    "tatoeba": ("machine_translation/tatoeba", (), 5, 5 * 800, 5 * 200),
    "docs_mt": ("machine_translation/codexglue_docs", (DIRECTIONS,), 1, 1500 + 300, 400),
    "superni_o1": ("instruction_tuning/SuperNI", SKIP, 10, 1901 + 335, 503),
    "superni_o2": ("instruction_tuning/SuperNI", SKIP, 10, 1901 + 335, 503),
    "citb": ("instruction_tuning/SuperNI", SKIP, 2, 342 + 47, 71),
    "alpaca_skills": ("instruction_tuning/alpaca", ("data.on_bad_row=skip",), 6, 3160 - 316, 316),
}


def overrides(name: str, real_data: Path) -> list[str]:
    folder, own, *_ = STREAMS[name]
    if not (real_data.parent / folder).is_dir():
        pytest.skip(f"no real files of {name} at {real_data.parent / folder}")
    return [f"data.path={real_data.parent / folder}", *own]


def built(name: str, changes: list[str]) -> Stream:
    """Build a stream as `cmt run` does, without the cache of streams."""
    config = check.composed(check.Request((f"data={name}", "model=tiny", *changes)))
    resolved = check.settings_of(config, config.hydra.runtime.choices)
    made: Stream = targets.instantiate(dict(resolved.config["data"]))
    return made


def test_every_labelled_stream_that_reads_files_is_tested() -> None:
    options = catalog.options("data", [catalog.conf_dir()])
    keys = {option.name: set(catalog.top_level_keys(option.path)) for option in options}
    reads = {name for name, found in keys.items() if {"split_policy", "path"} <= found}
    absent = {"fewnerd", "tacred", "sentiment_domains"}  # whose files are elsewhere or may not be passed on
    assert reads - absent - {"trace"} == set(STREAMS)  # trace: below


@pytest.mark.parametrize("name", STREAMS)
def test_real_files_give_tasks_of_the_counted_sizes(name: str, real_data: Path) -> None:
    stream = built(name, overrides(name, real_data))
    _, _, num_tasks, num_learned, num_tested = STREAMS[name]
    found = sizes(stream)
    assert len(found) == num_tasks and all(min(counts) > 0 for _, *counts in found)
    assert sum(train + validation for _, train, validation, _ in found) == num_learned
    assert sum(tested for *_, tested in found) == num_tested
    assert stream.provenance.source == "real" and all(len(digest) == 64 for digest in stream.provenance.files.values())


@pytest.mark.parametrize("alias", ["o1", "o2", "o3", "o4", "o5", "o6"])
def test_published_orders_run_on_the_tasks_with_files(alias: str, real_data: Path) -> None:
    changes = overrides("long_sequence", real_data)
    stream = built("long_sequence", [*changes, f"data.order={alias}"])
    settings = stream_files.settings_of("long_sequence").data
    assert [task.name for task in stream.tasks] == [task for task in settings["orders"][alias] if task != "yahoo"]
    assert "1 task without training rows left out: yahoo" in stream.provenance.note


def test_real_statements_in_traces_layout_are_a_task(real_data: Path, tmp_path: Path) -> None:
    source = real_data.parent / "instruction_tuning" / "trace_sources" / "FOMC"
    if not source.is_dir():
        pytest.skip(f"no real files at {source}")
    (tmp_path / "FOMC").mkdir()
    for split in ("train", "test"):
        (file,) = source.glob(f"*-{split}-*.csv")
        with file.open(encoding="utf-8", newline="") as stream:
            rows = [{"prompt": row["sentence"], "answer": "ABC"[int(row["label"])]} for row in csv.DictReader(stream)]
        (tmp_path / "FOMC" / f"{split}.json").write_text(json.dumps(rows), encoding="utf-8")
    made = built("trace", [f"data.path={tmp_path}", "data.missing_tasks=skip"])
    ((name, train, validation, tested),) = sizes(made)
    assert (name, tested) == ("FOMC", 300) and 1150 < train + validation <= 1200
    assert "7 tasks without training rows left out" in made.provenance.note


def test_rows_without_an_answer_are_counted_and_not_learned(real_data: Path) -> None:
    folder = real_data.parent / "instruction_tuning" / "trace"
    if not folder.is_dir():
        pytest.skip(f"no real files at {folder}")
    order = "data.order=[self-instruct]"
    with pytest.raises(UserError, match=r"525 problems: .*train\.json:2: \[0\]: 'answer' is empty"):
        built("trace", [f"data.path={folder}", order])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["banking77", "semeval2010", "docs_mt"])
def test_a_run_on_real_files_scores_every_task(
    name: str, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CMT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    shared = ["method=finetune", f"data={name}", "model=tiny", "trainer=smoke", "logger=none"]
    with pytest.raises(SystemExit) as left:
        app.main(["run", *shared, *overrides(name, real_data), "evaluator.max_examples_per_test=2"])
    assert left.value.code == 0
    (file,) = (tmp_path / "runs").glob("*/result.json")
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["status"] == "complete" and result["data"]["source"] == "real"
    num_tasks = STREAMS[name][2]
    assert len(result["scores"]) == num_tasks + 1
    assert all(len(row) == num_tasks and None not in row for row in result["scores"])
    assert f"evaluated are {2 * num_tasks} of {STREAMS[name][4]} test examples" in result["data"]["note"]
