"""Stored token rows are those that the learner makes, bit for bit, and are made once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cmt_cli.core.learner import Learner
from cmt_cli.core.stored_rows import RowFile, RowWriter, StoredRows
from cmt_cli.core.stream import Example
from cmt_cli.training.tokenized import tokenized

EXAMPLES = [
    *(Example(f"q{i}", f"Where does number {i} live?\nAnswer:", f" at {i * i}") for i in range(9)),
    Example("long prompt", "word " * 200 + "\nAnswer:", " London"),
    Example("text", "", "Mara moved from Lagos to Turin. " * 30),
    Example("ünïcode", "Größe? 大きさ 🙂", " ja"),
]


def stored(folder: Path, examples: Sequence[Example] = EXAMPLES) -> StoredRows[Example]:
    folder.mkdir(exist_ok=True)
    with RowWriter(folder) as writer:
        span = writer.write([example.id, example.prompt, example.target] for example in examples)
    return StoredRows(RowFile(folder), span, lambda values: Example(*values), cache=folder)


def folders(cache: Path) -> list[Path]:
    return sorted((cache / "tokens").iterdir())


def no_rows(learner: Learner) -> Learner:
    """Return a learner whose tokenizer may not be called on an example."""
    learner.encode = lambda text: pytest.fail("tokenized again")  # type: ignore[method-assign]
    return learner


def test_rows_are_the_learners_from_cache_too(any_learner: Learner, tmp_path: Path) -> None:
    expected = [row for example in EXAMPLES for row in any_learner.rows(example)]
    num_truncated, any_learner.num_truncated = any_learner.num_truncated, 0
    for learner in (any_learner, no_rows(copy.copy(any_learner))):
        learner.num_truncated = 0
        rows = tokenized(learner, stored(tmp_path / "s"))
        assert list(rows) == expected
        assert [rows[i] for i in range(len(rows))] == expected
        assert rows.lengths() == [len(row.input_ids) for row in expected]
        assert learner.num_truncated == num_truncated > 0
    in_memory = tokenized(any_learner, EXAMPLES)
    assert (list(in_memory), in_memory.lengths()) == (expected, rows.lengths())


def test_other_examples_tokenizers_and_lengths_have_their_own_rows(
    make_learner: Callable[[str], Learner], tmp_path: Path
) -> None:
    learner = make_learner("llama")
    shorter = Learner(learner.model, learner.tokenizer, name="tiny", revision="test", max_tokens=20)
    for number, (each, examples) in enumerate(
        [(learner, EXAMPLES), (shorter, EXAMPLES), (make_learner("gpt2"), EXAMPLES), (learner, EXAMPLES[1:])], start=1
    ):
        rows = tokenized(each, stored(tmp_path / "s", examples))
        assert list(rows) == [row for example in examples for row in each.rows(example)]
        assert len(folders(tmp_path / "s")) == number


@pytest.mark.parametrize("name", ["ids.bin", "offsets.npy", "num_prompt_tokens.npy", "examples.npy", "tokens.json"])
def test_damaged_rows_are_made_anew_with_a_warning(tiny_llama: Learner, tmp_path: Path, name: str) -> None:
    examples = stored(tmp_path / "s")
    expected = list(tokenized(tiny_llama, examples))
    (folder,) = folders(tmp_path / "s")
    for damaged in ((folder / name).read_bytes()[:-1], b"", None):
        if damaged is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(damaged)
        with pytest.warns(UserWarning, match="damaged"):
            assert list(tokenized(tiny_llama, examples)) == expected
    assert list(tokenized(no_rows(tiny_llama), examples)) == expected


def test_an_edited_count_of_token_rows_is_not_believed(tiny_llama: Learner, tmp_path: Path) -> None:
    examples = stored(tmp_path / "s")
    expected = list(tokenized(tiny_llama, examples))
    file = folders(tmp_path / "s")[0] / "tokens.json"
    text = file.read_text()
    file.write_text(text.replace('"num_truncated": ', '"num_truncated": 1'))
    assert file.read_text() != text
    with pytest.warns(UserWarning, match="damaged"):
        assert list(tokenized(tiny_llama, examples)) == expected


def test_rows_stay_readable_when_their_folder_is_deleted(tiny_llama: Learner, tmp_path: Path) -> None:
    rows = tokenized(tiny_llama, stored(tmp_path / "s"))
    expected = list(rows)
    (folder,) = folders(tmp_path / "s")
    for file in folder.iterdir():
        file.unlink()
    assert list(rows) == expected


def test_rows_stay_in_memory_where_nothing_can_be_written(tiny_llama: Learner, tmp_path: Path) -> None:
    examples = stored(tmp_path / "s")
    (tmp_path / "s" / "tokens").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="held in memory"):
        rows = tokenized(tiny_llama, examples)
    assert list(rows) == [row for example in EXAMPLES for row in tiny_llama.rows(example)]


def test_progress_is_told_where_there_are_many(tiny_llama: Learner) -> None:
    told: list[tuple[int, int]] = []
    many = [Example("e", "a", " b")] * 2100
    assert len(tokenized(tiny_llama, many, lambda *at: told.append(at))) == 2100
    assert told == [(0, 2100), (1024, 2100), (2048, 2100)]
    tokenized(tiny_llama, many[:1000], lambda *at: pytest.fail("told of few"))
