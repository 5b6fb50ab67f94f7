"""The documentation pairs: folders of splits, pairs without a training file, real files and the stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.translation.docs_mt import LAYOUT, docs_mt
from tests.data.translations import built, common, lines_into


def put(folder: Path) -> Path:
    for split in ("train", "dev", "test"):
        for pair in ("da-en", "lv-en"):
            for code in pair.split("-"):
                if (split, pair, code) != ("train", "da-en", "da"):
                    lines_into(folder / split / f"{pair}.{split}.{code}", [f"{code} {split} {i}" for i in range(5)])
    return folder


def stream(path: Path, order: list[str], *, source: str = "real", missing_tasks: str = "error") -> Stream:
    return built(docs_mt, path, source=source, **common(order, missing_tasks=missing_tasks))


def test_splits_are_upstreams(tmp_path: Path) -> None:
    made = stream(put(tmp_path), ["lv-en", "en-lv"])
    assert [(len(task.train), len(task.validation)) for task in made.tasks] == [(5, 5), (5, 5)]
    assert made.tests[1].examples[2].prompt == "English to lv: en test 2 ="
    assert made.tests[1].examples[2].references == ("lv test 2",)


def test_pairs_lacking_a_training_file_are_refused_or_noted(tmp_path: Path) -> None:
    put(tmp_path)
    assert not LAYOUT.read(tmp_path)[1]
    with pytest.raises(UserError, match=r"no training rows of 1 of 2 tasks: da-en. There are: lv-en"):
        stream(tmp_path, ["da-en", "lv-en"])
    made = stream(tmp_path, ["da-en", "lv-en"], missing_tasks="skip")
    assert [task.name for task in made.tasks] == ["lv-en"]
    assert "1 task without training rows left out: da-en" in made.provenance.note
    with pytest.raises(UserError, match="no training rows"):
        stream(tmp_path, ["da-en"], missing_tasks="skip")


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    made = stream(tmp_path, ["da-en", "en-da", "zh-en"], source="generated")
    assert len(made.provenance.files) == 3 * 4  # the reverse of a pair has no files of its own
    assert [(len(task.train), len(task.validation)) for task in made.tasks] == [(12, 4)] * 3


def test_the_real_files(real_data: Path) -> None:
    folder = real_data.parent / "machine_translation/codexglue_docs"
    if not folder.is_dir():
        pytest.skip(f"no real files at {folder}")
    made = stream(folder, ["lv-en", "en-lv"])
    assert [len(test.examples) for test in made.tests] == [400, 400]
    assert all(len(task.train) > 1400 and len(task.validation) > 250 for task in made.tasks)
