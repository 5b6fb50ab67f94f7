"""Articles of the WMT archives: found by the key that StreamingQA calls evidence_id."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from pathlib import Path

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.knowledge.streamingqa import fetch, read
from cmt_cli.data.knowledge.wmt import readable_id, write_documents
from tests.data.files.test_archives import everything_below
from tests.data.knowledge.test_streamingqa import OFFICIAL, official_row
from tests.data.written_files import put_jsonl


def archive_line(date: str, text: str) -> tuple[str, bytes]:
    """Return the evidence id and the archive line of an article."""
    sentences, whole = (base64.b64encode(part.encode()) for part in (text.replace(". ", ".\n"), text))
    key = f"{date}000000000000\x00\x01{hashlib.sha256(whole).hexdigest()}\x00\x01"
    return key, b"\t".join([date.encode(), sentences, whole]) + b"\n"


def nothing(what: str, done: int, total: int) -> None:
    pass


def test_only_the_wanted_articles_are_written(tmp_path: Path) -> None:
    wanted, line = archive_line("20200224", "One. Two, é.")
    lines = [archive_line("20200224", "Other.")[1], line, line, archive_line("20200225", "One. Two, é.")[1]]
    (tmp_path / "news-docs.2020.en.filtered.gz").write_bytes(gzip.compress(b"".join(lines)))
    assert write_documents(tmp_path / "documents.jsonl", {wanted}, nothing) == 1
    written = [json.loads(line) for line in (tmp_path / "documents.jsonl").read_text("utf-8").splitlines()]
    assert written == [{"id": wanted, "text": "One.\nTwo, é.", "date": "2020-02-24"}]


def test_preparing_makes_the_official_files_readable(tmp_path: Path) -> None:
    wanted, line = archive_line("20200224", "Celtic won.")
    for number, name in enumerate(OFFICIAL):
        put_jsonl(tmp_path / name, [official_row(qa_id=str(number), evidence_id=wanted)])
    assert fetch(tmp_path, nothing) is False
    (tmp_path / "news-docs.2020.en.filtered.gz").write_bytes(gzip.compress(line))
    assert fetch(tmp_path, nothing) is True
    corpus, problems = read(tmp_path)
    assert problems == []
    assert [document.text for document in corpus.part("test").documents] == ["Celtic won."]
    assert fetch(tmp_path, nothing) is False


def test_a_damaged_archive_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    wanted, line = archive_line("20200224", "One.")
    (tmp_path / "news-docs.2020.en.filtered.gz").write_bytes(gzip.compress(line + b"20200224\tno tabs\n"))
    with pytest.raises(UserError, match=r"news-docs\.2020\.en\.filtered\.gz:2: is no line of a WMT archive"):
        write_documents(tmp_path / "documents.jsonl", {wanted}, nothing)
    (tmp_path / "news-docs.2020.en.filtered.gz").write_bytes(gzip.compress(line * 9)[:-9])
    with pytest.raises(UserError, match="the archive is damaged"):
        write_documents(tmp_path / "documents.jsonl", {wanted}, nothing)
    assert everything_below(tmp_path) == ["news-docs.2020.en.filtered.gz"]


def test_archives_without_any_wanted_article_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "news-docs.2020.en.filtered.gz").write_bytes(gzip.compress(archive_line("20200224", "One.")[1]))
    with pytest.raises(UserError, match="None of the 1 article wanted"):
        write_documents(tmp_path / "documents.jsonl", {"20200224000000000000\x00\x01ff\x00\x01"}, nothing)


def test_readable_ids_have_no_control_characters() -> None:
    assert readable_id("20200224000000000000\x00\x01ab\x00\x01") == "20200224000000000000-ab"
