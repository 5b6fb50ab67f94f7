"""TRACE: folders of tasks, metrics by task, faults, the layout's real sample and the stand-in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cmt_cli.config import catalog
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import AnswerForm, Stream
from cmt_cli.data.instructions.trace import LAYOUT, trace
from tests.data.instruction_settings import common, put_json
from tests.data.translations import built

SETTINGS = yaml.safe_load((catalog.conf_dir() / "data" / "trace.yaml").read_text(encoding="utf-8"))["format"]
FORMAT = {key: SETTINGS[key] for key in ("max_new_tokens", "has_lines", "source_pattern")}
METRICS = {"FOMC": "em", "20Minuten": "f1"}


def put(folder: Path) -> Path:
    for task in METRICS:
        for split in ("train", "eval", "test"):
            rows = [{"prompt": f"{task} {split} {i}?", "answer": f"{i}"} for i in range(3)]
            put_json(folder / "LLM-CL-Benchmark_5000" / task / f"{split}.json", rows)
    return folder


def stream(path: Path, order: list[str], *, source: str = "real", on_bad_row: str = "error") -> Stream:
    settings = common(order, "{prompt}", METRICS)
    return built(trace, path, source=source, on_bad_row=on_bad_row, order=order, **settings)


def faults(path: Path) -> list[tuple[str, int | None, str]]:
    return [(problem.file.name, problem.line, problem.message) for problem in LAYOUT.read(path)[1]]


def test_each_task_has_its_metric_and_upstreams_splits(tmp_path: Path) -> None:
    made = stream(put(tmp_path), ["20Minuten", "FOMC"])
    assert [(test.name, test.metric) for test in made.tests] == [("20Minuten", "f1"), ("FOMC", "em")]
    assert made.tasks[1].train[2].prompt == "FOMC train 2?" and made.tasks[1].train[2].target == " 2"
    assert made.tasks[1].validation[0].prompt == "FOMC eval 0?"
    assert made.tests[1].examples[0].prompt == "FOMC test 0?"


def test_only_the_tasks_of_the_order_are_read(tmp_path: Path) -> None:
    (put(tmp_path) / "LLM-CL-Benchmark_5000/FOMC/train.json").write_text("no json")
    assert len(stream(tmp_path, ["20Minuten"]).tasks) == 1
    assert faults(tmp_path) == [("train.json", 1, "is not valid json (Expecting value at column 1)")]


def test_every_faulty_row_is_reported_with_its_line(tmp_path: Path) -> None:
    file = put(tmp_path) / "LLM-CL-Benchmark_5000/FOMC/train.json"
    file.write_text(
        '[\n{"prompt": "a", "answer": ""},\n{"promt": "a", "answer": "b"},\n3,\n{"prompt": "c", "answer": "d"}]'
    )
    assert (
        faults(tmp_path)
        == [
            ("train.json", 2, "[0]: 'answer' is empty"),
            ("train.json", 3, "[1]: the key 'prompt' is missing; there are 'promt', 'answer'. Did you mean 'prompt'?"),
            ("train.json", None, "[2]: must be an object, not a number"),
        ]
        or len(faults(tmp_path)) == 3
    )


def test_a_row_with_invalid_bytes_is_left_out(tmp_path: Path) -> None:
    file = put(tmp_path) / "LLM-CL-Benchmark_5000/FOMC/train.json"
    file.write_bytes(b'[{"prompt": "a", "answer": "b"},\n{"prompt": "\xe4", "answer": "c"}]')
    assert [(line, text[:12]) for _, line, text in faults(tmp_path)] == [(2, "is not UTF-8")]
    made = stream(tmp_path, ["FOMC"], on_bad_row="skip")
    assert [e.prompt for e in made.tasks[0].train] == ["a"]


def test_empty_lists_and_folders_without_tasks_are_faults(tmp_path: Path) -> None:
    assert faults(tmp_path)[0][2] == "holds no folder of a task with train.json, eval.json and test.json"
    put_json(put(tmp_path) / "LLM-CL-Benchmark_5000/FOMC/test.json", [])
    assert faults(tmp_path) == [("test.json", None, "the list is empty")]


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    made = stream(tmp_path, ["FOMC", "20Minuten"], source="generated")
    assert [(t.name, len(t.train), len(t.validation)) for t in made.tasks] == [("FOMC", 12, 4), ("20Minuten", 12, 4)]
    assert [test.metric for test in made.tests] == ["em", "f1"] and len(made.provenance.files) == 6


def test_the_real_sample_of_the_layout_has_no_answers(real_data: Path) -> None:
    folder = real_data.parent / "instruction_tuning/trace"
    if not folder.is_dir():
        pytest.skip(f"no real files at {folder}")
    found = faults(folder)
    assert len(found) == 3 * 175 and {text.partition(": ")[2] for _, _, text in found} == {"'answer' is empty"}
    with pytest.raises(UserError, match="no training rows"):
        stream(folder, ["self-instruct"], on_bad_row="skip")


def test_a_simplification_is_compared_with_its_paragraph(tmp_path: Path) -> None:
    prompt = "Provide a simplified version of the following paragraph in German.\n\nParagraph:\n{}\n\nSimplification:"
    rows = [{"prompt": prompt.format(text), "answer": "Ein Satz."} for text in ("Ein langer Satz.", "Eins.\nZwei.")]
    for split in ("train", "eval", "test"):
        put_json(tmp_path / "20Minuten" / f"{split}.json", [*rows, {"prompt": f"Otherwise {split}", "answer": "X"}])
    settings = common(["20Minuten"], "{prompt}", {"20Minuten": "sari"})
    settings["format"] = replace(settings["format"], **FORMAT)
    settings["split_policy"] = replace(settings["split_policy"], overlap="keep")
    made = built(trace, tmp_path, source="real", on_bad_row="error", order=["20Minuten"], **settings)
    assert [example.source for example in made.tests[0].examples] == ["Ein langer Satz.", "Eins.\nZwei.", ""]
    assert made.tests[0].answers == AnswerForm(max_new_tokens=256, is_one_line=False)


def test_a_stand_in_has_short_answers_of_one_line(tmp_path: Path) -> None:
    settings = common(["MeetingBank"], "{prompt}", {"MeetingBank": "rouge_l_summary"})
    settings["format"] = replace(settings["format"], **FORMAT)
    made = built(trace, tmp_path, source="generated", on_bad_row="error", order=["MeetingBank"], **settings)
    assert made.tests[0].answers == AnswerForm(max_new_tokens=32)
