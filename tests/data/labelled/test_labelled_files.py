"""From files to a clean corpus: what is skipped and counted, what stays an error, what is generated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cmt_cli.core.stream import Provenance
from cmt_cli.data.files.conll import read_columns
from cmt_cli.data.files.json_document import read_json
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem, ProblemError, num_rows
from cmt_cli.data.files.reading import read_csv, read_jsonl
from cmt_cli.data.instructions import alpaca_skills
from cmt_cli.data.labelled.items import Item, LabelledCorpus, SplitPolicy
from cmt_cli.data.labelled.labelled_files import LabelledLayout, clean_corpus, files_at, generated_corpus
from cmt_cli.data.labelled.labelled_stream import Format
from cmt_cli.data.world.intents import Intents

SMALL = Intents(num_train=2, num_validation=1, num_test=1, seed=0)
POLICY = SplitPolicy(validation_share=0.5, overlap="drop", seed=0)
FORMAT = Format(prompt_template="{text}", metric="em", gives_task=False)


def read(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
    """Read lines `split text`; one without a space is faulty, and a file without lines."""
    splits: dict[str, list[Item]] = {"train": [], "validation": [], "test": []}
    file, problems = path / "rows.txt", []
    lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        split, _, text = line.partition(" ")
        if text:
            splits[split].append(Item(str(number), "lines", {"text": text}, ("yes",), ("yes",)))
        else:
            problems.append(Problem(file, number, "has no text"))
    if not lines:
        problems.append(Problem(file, None, "is empty"))
    return LabelledCorpus(splits, (file,)), problems


def write(folder: Path, corpus: LabelledCorpus) -> None:
    rows = (f"{split} {item.fields['text']}\n" for split, items in corpus.splits.items() for item in items)
    (folder / "rows.txt").write_text("".join(rows), encoding="utf-8")


LAYOUT: LabelledLayout = Layout(name="lines", license="own", how_to_get="Write {path}.", read=read, write=write)


def corpus_of(folder: Path, text: str, on_bad_row: str) -> tuple[LabelledCorpus, Provenance]:
    (folder / "rows.txt").write_text(text, encoding="utf-8")
    files = files_at(str(folder), "elsewhere", "auto", False, "cache", on_bad_row)
    return clean_corpus(LAYOUT, files, SMALL, POLICY, FORMAT)


def test_bad_rows_stop_a_run_or_are_skipped(tmp_path: Path) -> None:
    text = "train a\ntrain\ntrain b\nvalidation c\ntest d\ntest\n"
    with pytest.raises(ProblemError, match=r"2 problems: .*rows\.txt:2: has no text"):
        corpus_of(tmp_path, text, "error")
    corpus, provenance = corpus_of(tmp_path, text, "skip")
    assert [item.fields["text"] for item in corpus.splits["train"]] == ["a", "b"]
    assert provenance.note == "2 faulty rows skipped"
    assert set(provenance.files) == {"rows.txt"} and provenance.license == "not stated"


def test_skipping_rows_excuses_no_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="is empty"):
        corpus_of(tmp_path, "", "skip")


def test_the_note_tells_what_was_done_for_splits(tmp_path: Path) -> None:
    _, provenance = corpus_of(tmp_path, "train a\ntrain a\ntrain d\ntrain e\ntest d\n", "error")
    assert provenance.note == (
        "1 repeated training row left out; 1 training row left out that is also a validation or test row; "
        "1 validation row carved from training"
    )


def test_stand_in_is_read_and_depends_on_its_settings(tmp_path: Path) -> None:
    files = files_at("here", "here", "generated", True, str(tmp_path), "error")
    corpus, provenance = clean_corpus(LAYOUT, files, SMALL, POLICY, FORMAT)
    assert provenance.source == "generated" and len(corpus.splits["test"]) == 32
    clean_corpus(LAYOUT, files, SMALL, POLICY, FORMAT)
    clean_corpus(LAYOUT, files, Intents(num_train=2, num_validation=1, num_test=1, seed=1), POLICY, FORMAT)
    assert len(list((tmp_path / "generated").iterdir())) == 2


@pytest.mark.parametrize(
    ("template", "learned"),
    [("{text}", ["b"]), ({"one": "{text} One:", "two": "{text} Two:"}, ["a", "b"])],
)
def test_tasks_share_texts_where_one_template_serves_them(
    tmp_path: Path, template: str | dict[str, str], learned: list[str]
) -> None:
    def two_tasks(path: Path) -> tuple[LabelledCorpus, list[Problem]]:
        rows = [("train", "one", "a"), ("train", "one", "b"), ("validation", "one", "c"), ("test", "two", "A")]
        items: dict[str, list[Item]] = {"train": [], "validation": [], "test": []}
        for split, task, text in rows:
            items[split].append(Item(f"{split} {text}", task, {"text": text}, ("yes",), ("yes",)))
        return LabelledCorpus(items, (path / "rows.txt",)), []

    (tmp_path / "rows.txt").write_text("", encoding="utf-8")
    files = files_at(str(tmp_path), "elsewhere", "auto", False, "cache", "error")
    format = replace(FORMAT, prompt_template=template)
    corpus, _ = clean_corpus(replace(LAYOUT, read=two_tasks), files, SMALL, POLICY, format)
    assert [item.fields["text"] for item in corpus.splits["train"]] == learned


def test_a_generated_corpus_needs_no_files() -> None:
    corpus, provenance = generated_corpus("world", SMALL, POLICY)
    assert [len(corpus.splits[split]) for split in ("train", "validation", "test")] == [64, 32, 32]
    assert (provenance.name, provenance.source, provenance.files) == ("world", "generated", {})


def test_a_faulty_row_counts_once_whatever_its_lines(tmp_path: Path) -> None:
    one_line = '[{"instruction": "write", "output": "a"}, {"output": ""}, {"instruction": " "}, {"output": 3}, 5]'
    (tmp_path / "alpaca_data.json").write_text(one_line, encoding="utf-8")
    problems = alpaca_skills.read(tmp_path)[1]
    assert {problem.line for problem in problems} == {1}
    assert (len(problems), num_rows(problems)) == (7, 4)  # two faults of three rows, and no object
    problems = []
    (tmp_path / "train.txt").write_text("a\tO\n\nb\nc\nd\tO\n\ne\n", encoding="utf-8")
    read_columns(tmp_path / "train.txt", problems)
    assert ([problem.line for problem in problems], num_rows(problems)) == ([3, 4, 7], 2)


def test_rows_with_invalid_bytes_are_left_out_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_bytes(b'text\nfirst\n"two\nl\xe9nes"\nlast\n')
    problems: list[Problem] = []
    assert [row.values["text"] for row in read_csv(file, ("text",), problems)] == ["first", "last"]
    file.write_bytes(b'{"text": "first"}\n{"text": "l\xe9"}\n{"text": "last"}\n')
    assert [row.values["text"] for row in read_jsonl(file, problems)] == ["first", "last"]
    file.write_bytes(b'{"rows": [\n"first",\n["l\xe9"],\n"last"]}')
    document = read_json(file, problems)
    assert document is not None
    assert [row for _, row in document.rows(("rows",), document.value["rows"])] == ["first", "last"]
    assert [problem.line for problem in problems] == [4, 2, 3]
    assert all(problem.is_of_row for problem in problems)
