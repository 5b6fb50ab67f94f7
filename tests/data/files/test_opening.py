"""Packed files are read as they are, within limits; what is no text is named."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from cmt_cli.core.exceptions import CmtWarning, UserError
from cmt_cli.data.files import limits
from cmt_cli.data.files.conll import read_columns, read_token_lines
from cmt_cli.data.files.json_document import read_json
from cmt_cli.data.files.opening import foreign
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.reading import read_csv, read_jsonl, read_lines
from cmt_cli.data.files.span_json import read_spans
from cmt_cli.data.files.table_rows import TableForm, rows_of
from cmt_cli.data.files.xml_document import read_xml
from cmt_cli.data.knowledge.wmt import matching_articles

Pack = Callable[[bytes], bytes]
PACKINGS: dict[str, Pack] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda text: pyarrow.compress(text, codec="zstd", asbytes=True),
}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
PAGE = b"\xef\xbb\xbf\n <!doctype HTML>\n<html><body>Not found</body></html>\n"
FORM = TableForm(has_quotes=True, header=None, delimiter=None)


def lines_of(path: Path) -> tuple[list[str], list[Problem]]:
    problems: list[Problem] = []
    return list(read_lines(path, problems)), problems


@pytest.mark.parametrize("packing", PACKINGS)
def test_packed_lines_are_read_and_damage_is_told(packing: str, tmp_path: Path) -> None:
    text = "".join(f"line {i} äöü\n" for i in range(20_000))
    whole = PACKINGS[packing](text.encode())
    (tmp_path / "text").write_bytes(whole)
    assert lines_of(tmp_path / "text") == (text.splitlines(keepends=True), [])
    (tmp_path / "text").write_bytes(whole[:-20])
    found, problems = lines_of(tmp_path / "text")
    assert text.startswith("".join(found))
    assert problems[-1].ends_file and f"the {packing} data are damaged" in problems[-1].message
    assert problems[-1].line == len(found) + 1


@pytest.mark.parametrize("packing", PACKINGS)
def test_packed_data_stop_at_limits_that_they_name(
    packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").write_bytes(PACKINGS[packing](b"0123456789\n" * 300_000))
    assert lines_of(tmp_path / "text")[1] == []
    monkeypatch.setenv("CMT_MAX_UNPACKED_BYTES", "2_000_000")
    (problem,) = lines_of(tmp_path / "text")[1]
    assert problem.ends_file
    assert "unpacks to more than 2,000,000 bytes; if it may, set CMT_MAX_UNPACKED_BYTES" in problem.message
    monkeypatch.delenv("CMT_MAX_UNPACKED_BYTES")
    monkeypatch.setattr(limits, "_RATIO_COUNTS_FROM", 2**20)
    monkeypatch.setenv("CMT_MAX_UNPACKED_RATIO", "2")
    assert "set CMT_MAX_UNPACKED_RATIO" in lines_of(tmp_path / "text")[1][0].message


def test_a_huge_line_is_told_with_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMT_MAX_LINE_BYTES", "1000")
    (tmp_path / "text").write_bytes(b"short\n" + b"x" * 999 + b"\n" + b"y" * 1001)
    found, (problem,) = lines_of(tmp_path / "text")
    assert len(found) == 2 and problem.line == 3 and problem.ends_file
    assert "the line has more than 1,000 bytes; if it may, set CMT_MAX_LINE_BYTES" in problem.message
    (tmp_path / "news-docs.gz").write_bytes(gzip.compress(b"20200101" + b"x" * 2000))
    with pytest.raises(UserError, match=r"news-docs\.gz:1: the line has more than 1,000 bytes"):
        list(matching_articles(tmp_path / "news-docs.gz", {"20200101"}))


@pytest.mark.parametrize("value", ["many", "0", "-3", "1.5"])
def test_limits_are_whole_numbers(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMT_MAX_LINE_BYTES", value)
    with pytest.raises(UserError, match=f"CMT_MAX_LINE_BYTES={value} must be a whole number above 0"):
        limits.limits()


READERS: dict[str, Callable[[Path, list[Problem]], Any]] = {
    "rows.csv": lambda path, problems: read_csv(path, (), problems),
    "rows.jsonl": read_jsonl,
    "rows.json": read_json,
    "page.xml": read_xml,
    "columns.txt": read_columns,
    "tokens.txt": read_token_lines,
    "spans.jsonl": read_spans,
    **{f"table{e}": lambda path, problems: rows_of(path, FORM, problems) for e in (".csv", ".json", ".parquet")},
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POINTER, "is a Git LFS pointer"),
        (PAGE, "is a web page"),
        (b"PK\x03\x04" + bytes(40), "is a zip archive"),
        (b"%PDF-1.7\n%\xff", "is a PDF document"),
        (b"\x80\x04\x95" + bytes(9), "is a pickled file"),
        (b"", "is empty|has no sentences"),
    ],
    ids=lambda value: value.decode("latin-1")[:4] if isinstance(value, bytes) else "",
)
def test_readers_name_files_of_other_kinds(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    problems: list[Problem] = []
    found = READERS[name](tmp_path / name, problems)
    assert not list(found if isinstance(found, Iterable) else [])
    assert any(word in problem.message for problem in problems for word in words.split("|")), problems


def test_text_is_not_taken_for_something_else() -> None:
    for head in (b"PKs and html\n", b"<html2text> is a tool", b"BZh9 is a label", b'{"a": "<html>"}', b"version 1\n"):
        assert foreign(head) is None


def test_null_bytes_and_utf16_without_a_mark_are_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"fine\nbro\0ken\n\0\n")
    found, problems = lines_of(tmp_path / "text")
    assert found == ["fine\n", "bro\N{REPLACEMENT CHARACTER}ken\n", "\N{REPLACEMENT CHARACTER}\n"]
    assert [(problem.line, problem.message[:27]) for problem in problems] == [
        (2, "has a NUL byte at 3 of the "),
        (3, "has a NUL byte at 0 of the "),
    ]
    for order in ("le", "be"):
        (tmp_path / "text").write_bytes("text,label\n".encode(f"utf-16-{order}"))
        assert lines_of(tmp_path / "text")[1][0].message.startswith("is UTF-16 without a byte order mark")


def test_a_last_row_without_its_ending_is_told(tmp_path: Path) -> None:
    problems: list[Problem] = []
    (tmp_path / "rows.csv").write_text("text,label\none,a\ntwo,b")
    with pytest.warns(CmtWarning, match="ends in line 3 without a line ending"):
        rows = list(read_csv(tmp_path / "rows.csv", (), problems))
    assert [row.values["text"] for row in rows] == ["one", "two"] and problems == []
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": 2}')  # whole without it
    assert len(list(read_jsonl(tmp_path / "rows.jsonl", problems))) == 2 and problems == []


def test_cut_and_damaged_parquet_files_are_problems(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": [f"text {i}" for i in range(200)]}), file)
    whole = file.read_bytes()
    for place in range(0, len(whole), 97):
        file.write_bytes(whole[:place])
        problems: list[Problem] = []
        assert list(rows_of(file, FORM, problems)) == [] and problems[0].ends_file
    odd = pyarrow.table({"text": ["a"]}).replace_schema_metadata({b"huggingface": b'{"info": [1]}'})
    parquet.write_table(odd, file)
    assert [row.values for _, row in rows_of(file, FORM, [])] == [{"text": "a"}]
