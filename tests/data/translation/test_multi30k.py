"""Multi30k: what its files look like, every fault of line-aligned files, directions, real files and the stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.translation.multi30k import LAYOUT, multi30k
from cmt_cli.data.translation.parallel import Directions
from tests.data.translations import built, common, lines_into

ENGLISH = ["a boy", "a girl", "two dogs", "a red car"]
GERMAN = ["ein Junge", "ein Mädchen", "zwei Hunde", "ein rotes Auto"]


def put(folder: Path, *, packed: bool = False, end: str = "\n", **changed: list[str]) -> Path:
    for stem in ("train", "val", "test_2016_flickr"):
        for language, lines in (("en", ENGLISH), ("de", GERMAN)):
            name = f"{stem}.{language}"
            lines = changed.get(name.replace(".", "_"), [f"{line} {stem}" for line in lines])
            lines_into(folder / (f"{name}.gz" if packed else name), lines, packed=packed, end=end)
    return folder


def stream(path: Path, order: list[str], *, test_set: str = "test_2016_flickr", on_bad_row: str = "error") -> Stream:
    return built(multi30k, path, on_bad_row=on_bad_row, test_set=test_set, **common(order))


def faults(path: Path) -> list[tuple[str, int | None, str]]:
    return [(problem.file.name, problem.line, problem.message) for problem in LAYOUT.read(path)[1]]


@pytest.mark.parametrize("packed", [False, True])
def test_lines_of_equal_number_translate_each_other(tmp_path: Path, packed: bool) -> None:
    made = stream(put(tmp_path / "data/task1/raw", packed=packed).parents[2], ["en-de", "de-en"])
    assert [task.name for task in made.tasks] == ["en-de", "de-en"]
    there, back = made.tasks
    assert there.train[1].prompt == "English to German: a girl train ="
    assert there.train[1].target == " ein Mädchen train" and there.train[1].references == ("ein Mädchen train",)
    assert back.train[1].prompt == "German to English: ein Mädchen train =" and back.train[1].target == " a girl train"
    assert [len(task.validation) for task in made.tasks] == [4, 4]
    assert [test.examples[0].references for test in made.tests] == [
        ("ein Junge test_2016_flickr",),
        ("a boy test_2016_flickr",),
    ]


def test_texts_exclude_carriage_returns_and_byte_order_marks(tmp_path: Path) -> None:
    put(tmp_path, end="\r\n", train_en=["\ufeffa boy", *ENGLISH[1:]])
    assert stream(tmp_path, ["en-de"]).tasks[0].train[0].prompt == "English to German: a boy ="


def test_unequal_files_are_refused_with_both_counts(tmp_path: Path) -> None:
    put(tmp_path, train_en=ENGLISH[:3])
    assert ("train.de", None, "has 4 lines, but train.en has 3: line n must translate line n") in faults(tmp_path)
    with pytest.raises(UserError, match=r"has 4 lines, but train\.en has 3"):
        stream(tmp_path, ["en-de"], on_bad_row="skip")  # nobody knows which line is lost


def test_empty_lines_are_numbered_and_skipped_with_their_translation(tmp_path: Path) -> None:
    put(tmp_path, train_en=["a boy", " ", "two dogs", "a red car"])
    assert faults(tmp_path) == [("train.en", 2, "the line is empty")]
    made = stream(tmp_path, ["en-de"], on_bad_row="skip")
    assert [e.references[0].split()[1] for e in made.tasks[0].train] == ["Junge", "Hunde", "rotes"]
    assert "1 faulty row skipped" in made.provenance.note


def test_a_line_that_is_not_utf8_is_skipped_whole(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "train.de").write_bytes(b"ein Junge\nein M\xe4dchen\nzwei Hunde\nein rotes Auto\n")
    assert faults(tmp_path) == [("train.de", 2, "is not UTF-8 (byte 0xe4 at 5 of the line)")]
    assert len(stream(tmp_path, ["en-de"], on_bad_row="skip").tasks[0].train) == 3


def test_an_empty_file_is_a_fault(tmp_path: Path) -> None:
    put(tmp_path, train_en=[], train_de=[])
    assert faults(tmp_path) == [("train.de", None, "is empty"), ("train.en", None, "is empty")]


def test_folders_without_files_and_missing_test_sets_are_named(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("x")
    assert [fault[2] for fault in faults(tmp_path)] == [
        "holds no files train.*, nor does a folder data/task1/raw or task1/raw or raw in it"
    ]
    with pytest.raises(UserError, match=r"holds no files test_2018_flickr.LANGUAGE"):
        stream(put(tmp_path / "there"), ["en-de"], test_set="test_2018_flickr")


def test_a_direction_that_the_files_lack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no training rows of 1 of 2 tasks: en-fr"):
        stream(put(tmp_path), ["en-de", "en-fr"])
    for wrong in ("en", "en-en", "en-de-fr"):
        with pytest.raises(UserError, match="source-target"):
            Directions(order=[wrong], missing_tasks="error", languages={})


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    settings = {"test_set": "test_2018_flickr", **common(["en-de", "fr-en"])}
    made = built(multi30k, tmp_path, source="generated", **settings)
    assert made.provenance.source == "generated" and set(made.provenance.files) == {
        f"{stem}.{code}" for stem in ("train", "val", "test_2016_flickr") for code in ("en", "de", "fr")
    }
    assert [(len(t.train), len(t.validation)) for t in made.tasks] == [(12, 4)] * 2
    first, second = made.tasks[0].train[0], made.tasks[1].train[0]
    assert first.prompt.split(": ")[1].removesuffix(" =") == second.references[0]  # one sentence in all languages


def test_the_real_files(real_data: Path) -> None:
    folder = real_data.parent / "machine_translation/multi30k"
    if not folder.is_dir():
        pytest.skip(f"no real files at {folder}")
    made = stream(folder, ["en-de", "de-fr"])
    assert [(len(task.train), len(task.validation)) for task in made.tasks] == [(3000, 300)] * 2
    assert [len(test.examples) for test in made.tests] == [500, 500]
