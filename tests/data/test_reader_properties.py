"""Every reader that a configuration names: damaged files give problems, written corpora are read again."""

from __future__ import annotations

import gzip
import importlib
import pkgutil
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cmt_cli.data
from cmt_cli.commands import stream_files
from cmt_cli.config import catalog, targets
from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.origin import Layout
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.labelled.items import Item, LabelledCorpus

LONG = 2**20  # bytes of a line


def streams_by_module() -> dict[str, str]:
    """Return the name of one stream of each module of those that read files."""
    found: dict[str, str] = {}
    for option in catalog.options("data", [catalog.conf_dir()]):
        plain = yaml.safe_load(option.path.read_text(encoding="utf-8"))
        if {"_target_", "path"} <= set(plain):
            found.setdefault(plain["_target_"].rpartition(".")[0], option.name)
    return found


STREAMS = list(streams_by_module().values())
SETTINGS = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@cache
def settings_of(name: str) -> dict[str, Any]:
    return stream_files.settings_of(name).data


def layout_of(name: str) -> Layout[Any, Any]:
    found = stream_files.layout_of(stream_files.settings_of(name))
    assert found is not None
    return found


def small(name: str) -> Any:
    """Return what the layout of a stream writes, a few rows from the generator of its configuration."""
    node = settings_of(name)["generated"]
    few = {key: min(value, 4) for key, value in node.items() if key.startswith("num_") and isinstance(value, int)}
    generator = targets.instantiate({**node, **few})
    return generator.corpus() if hasattr(generator, "corpus") else generator.articles()


@pytest.fixture(scope="module", params=STREAMS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout[Any, Any], Path]:
    """A layout, and a folder with a small corpus in it."""
    layout, folder = layout_of(request.param), tmp_path_factory.mktemp(f"written_{request.param}")
    layout.write(folder, small(request.param))
    return layout, folder


def files_of(folder: Path) -> list[Path]:
    """Return one file of each name: folders of a layout hold the same kinds of files."""
    return list({path.name: path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()}.values())


def read_damaged(
    layout: Layout[Any, Any], folder: Path, damage: Callable[[bytes], bytes], file: Path
) -> tuple[Any, list[Problem]]:
    """Read a copy of a folder with one file damaged; a UserError counts as no corpus."""
    copy = folder.parent / f"{folder.name}_damaged"
    if not copy.exists():
        shutil.copytree(folder, copy)
    whole = (folder / file).read_bytes()
    (copy / file).write_bytes(damage(whole))
    try:
        corpus, problems = layout.read(copy)
    except UserError:
        return None, []
    finally:
        (copy / file).write_bytes(whole)
    return corpus, problems


def are_told(problems: Sequence[Problem]) -> bool:
    """Return whether each problem says what is wrong and where."""
    return all(problem.message and problem.file.name and (problem.line or 1) >= 1 for problem in problems)


def is_answered(corpus: Any) -> bool:
    """Return whether each item of a labelled corpus has an answer and fields of text; other corpora have no items."""
    items = [item for split in getattr(corpus, "splits", {}).values() for item in split]
    return all(item.references and all(isinstance(text, str) for text in item.fields.values()) for item in items)


def test_no_reader_is_left_out() -> None:
    modules = [
        importlib.import_module(f"cmt_cli.data.{found.name}") for found in pkgutil.iter_modules(cmt_cli.data.__path__)
    ]
    assert {module.__name__ for module in modules if hasattr(module, "LAYOUT")} == set(streams_by_module())


@SETTINGS
@given(data=st.data())
def test_damaged_files_give_problems_and_no_other_error(written: tuple[Layout[Any, Any], Path], data: Any) -> None:
    layout, folder = written
    file = data.draw(st.sampled_from(files_of(folder)))
    size = (folder / file).stat().st_size
    at = data.draw(st.integers(0, size))
    junk = data.draw(
        st.binary(max_size=40) | st.sampled_from([b"\x00", b"\xff\xfe", b'"', b"[" * 3000, b"\r", b"\t\t"])
    )
    damages: dict[str, Callable[[bytes], bytes]] = {
        "replaced": lambda _: junk,
        "cut off": lambda raw: raw[:at],
        "inserted": lambda raw: raw[:at] + junk + raw[at:],
        "overwritten": lambda raw: raw[:at] + junk + raw[at + len(junk) :],
    }
    corpus, problems = read_damaged(layout, folder, damages[data.draw(st.sampled_from(sorted(damages)))], file)
    assert are_told(problems)
    assert is_answered(corpus)


def test_very_long_lines_give_problems_and_no_other_error(written: tuple[Layout[Any, Any], Path]) -> None:
    layout, folder = written
    for file in files_of(folder):
        for damage in (lambda raw: raw + b"a" * LONG, lambda _: b"b " * (LONG // 2)):
            corpus, problems = read_damaged(layout, folder, damage, file)
            assert are_told(problems)
            assert is_answered(corpus)


def test_null_bytes_everywhere_give_problems_and_no_other_error(written: tuple[Layout[Any, Any], Path]) -> None:
    layout, folder = written
    for file in files_of(folder):
        corpus, problems = read_damaged(layout, folder, lambda raw: raw.replace(b" ", b"\x00"), file)
        assert are_told(problems)
        assert is_answered(corpus)


def test_an_empty_file_is_a_problem(written: tuple[Layout[Any, Any], Path]) -> None:
    layout, folder = written
    for file in files_of(folder):
        corpus, problems = read_damaged(layout, folder, lambda _: b"", file)
        assert corpus is None or problems, file


def test_skipping_rows_excuses_no_truncated_file(written: tuple[Layout[Any, Any], Path]) -> None:
    layout, folder = written
    for file in files_of(folder):
        _, problems = read_damaged(layout, folder, lambda raw: gzip.compress(raw)[:-9], file)
        assert any(problem.ends_file and "gzip" in problem.message for problem in problems), file


def test_byte_order_marks_and_windows_line_endings_change_nothing(written: tuple[Layout[Any, Any], Path]) -> None:
    layout, folder = written
    expected = replace(layout.read(folder)[0], files=())
    for file in files_of(folder):
        corpus, problems = read_damaged(layout, folder, lambda raw: b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"), file)
        assert problems == [], file
        assert replace(corpus, files=()) == expected, file


@pytest.mark.parametrize("name", STREAMS)
def test_a_written_corpus_is_read_reproducibly_without_problems(name: str, tmp_path: Path) -> None:
    layout = layout_of(name)
    layout.write(tmp_path, small(name))
    corpus, problems = layout.read(tmp_path)
    assert problems == []
    assert corpus.files and set(corpus.files) <= set(tmp_path.rglob("*"))
    assert layout.read(tmp_path)[0] == corpus


CLASSIFICATION = ["clinc150", "banking77", "long_sequence"]  # any text may stand in their rows
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40).filter(lambda t: t == t.strip())


@pytest.mark.parametrize("name", CLASSIFICATION)
@SETTINGS
@given(texts=st.lists(TEXT, min_size=4, max_size=8, unique=True))
def test_any_text_survives_being_written_and_read(
    name: str, tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    layout, folder = layout_of(name), tmp_path_factory.mktemp("texts")
    labels = ("first label", "second label")
    items = [Item(str(i), "agnews", {"text": t}, (labels[i % 2],), (labels[i % 2],)) for i, t in enumerate(texts)]
    layout.write(folder, LabelledCorpus({"train": items, "validation": items, "test": items}, ()))
    corpus, problems = layout.read(folder)
    assert problems == []
    for split in ("train", "test"):
        found = [(item.fields["text"], item.references) for item in corpus.splits[split]]
        assert found == [(item.fields["text"], item.references) for item in items]
