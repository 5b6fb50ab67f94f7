"""Files are hashed once and again when they change, whatever their size and modification time say."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from cmt_cli.data.files import content_hashes
from cmt_cli.data.files.content_hashes import Listing, listing

LONG_AGO = 1_000_000_000


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, in order."""
    names: list[str] = []

    def sha256_of(path: Path) -> str:
        names.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(content_hashes, "sha256_of", sha256_of)
    monkeypatch.setattr(content_hashes, "_SETTLED_SECONDS", 0)
    return names


def put(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def found(root: Path) -> Listing:
    files = listing(root)
    assert files is not None
    return files


def test_an_unchanged_file_is_hashed_once(tmp_path: Path, hashed: list[str]) -> None:
    folder = put(tmp_path / "files", a="1", b="2")
    first = found(folder).sha256(tmp_path / "cache")
    assert first == {"a": hashlib.sha256(b"1").hexdigest(), "b": hashlib.sha256(b"2").hexdigest()}
    assert hashed == ["a", "b"]
    assert found(folder).sha256(tmp_path / "cache") == first
    assert hashed == ["a", "b"]


def test_files_of_equal_size_and_time_are_hashed_again(tmp_path: Path, hashed: list[str]) -> None:
    folder = put(tmp_path / "files", a="1", b="2")
    found(folder).sha256(tmp_path / "cache")
    times = (folder / "a").stat()
    put(folder, a="9")
    os.utime(folder / "a", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert found(folder).sha256(tmp_path / "cache")["a"] == hashlib.sha256(b"9").hexdigest()
    assert hashed == ["a", "b", "a"]


def test_what_was_written_a_moment_ago_is_hashed_again(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_hashes, "_SETTLED_SECONDS", 3600)
    folder = put(tmp_path / "files", a="1")
    for _ in range(2):
        found(folder).sha256(tmp_path / "cache")
    assert hashed == ["a", "a"]


def test_a_damaged_index_is_not_believed(tmp_path: Path, hashed: list[str]) -> None:
    folder = put(tmp_path / "files", a="1")
    found(folder).sha256(tmp_path / "cache")
    (index,) = (tmp_path / "cache" / "hashes").iterdir()
    for damage in ("[]", '{"a": 1}', '{"a": ["', ""):
        index.write_text(damage)
        assert found(folder).sha256(tmp_path / "cache") == {"a": hashlib.sha256(b"1").hexdigest()}
    assert hashed == ["a"] * 5


def test_links_are_followed_and_a_circle_of_them_ends(tmp_path: Path) -> None:
    folder = put(tmp_path / "files", a="1")
    other = put(tmp_path / "other", b="22")
    (folder / "to").symlink_to(other)
    (other / "back").symlink_to(folder)
    (folder / "nowhere").symlink_to(tmp_path / "absent")
    files = found(folder)
    assert sorted(files.stamps) == ["a", "to/b"]
    assert files.num_bytes == 3


def test_absent_or_too_large_folders_have_no_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listing(tmp_path / "absent") is None
    folder = put(tmp_path / "files", a="1", b="2")
    monkeypatch.setattr(content_hashes, "MAX_FILES", 1)
    assert listing(folder) is None
    assert found(folder / "a").num_bytes == 1
