"""Archives: plain files come out, everything else is refused before a byte is written."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cmt_cli.data.files import limits
from cmt_cli.data.files.archives import damaged_archive, extract, folder_of_files, is_archive, unpacked
from cmt_cli.data.files.problems import Problem
from tests.command_line import cmt


def put_zip(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def put_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size
    return member


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_zip_files_are_unpacked_without_their_one_outer_folder(tmp_path: Path) -> None:
    archive = put_zip(tmp_path / "a.zip", {"set/train.csv": "t", "set/deep/x": "y", "__MACOSX/._train.csv": ""})
    problems: list[Problem] = []
    folder = unpacked(archive, tmp_path / "cache", problems)
    assert problems == []
    assert (folder / "train.csv").read_text() == "t"
    assert (folder / "deep" / "x").read_text() == "y"


def test_files_of_a_tar_come_out(tmp_path: Path) -> None:
    archive = put_tar(tmp_path / "a.tgz", tar_member("d", tarfile.DIRTYPE), tar_member("d/f.csv", size=3))
    assert extract(archive, tmp_path / "out") == []
    assert (tmp_path / "out" / "d" / "f.csv").read_bytes() == b"xxx"


def test_an_archive_is_unpacked_once_for_its_content(tmp_path: Path) -> None:
    problems: list[Problem] = []
    first = unpacked(put_zip(tmp_path / "a.zip", {"f": "1", "g": "2"}), tmp_path / "cache", problems)
    inode = (first / "f").stat().st_ino
    (tmp_path / "b.zip").write_bytes((tmp_path / "a.zip").read_bytes())
    assert unpacked(tmp_path / "b.zip", tmp_path / "cache", problems) == first
    assert (first / "f").stat().st_ino == inode
    assert unpacked(put_zip(tmp_path / "c.zip", {"f": "3", "g": "2"}), tmp_path / "cache", problems) != first


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil.csv", "climbs out of the folder with '..'"),
        ("a/../../evil.csv", "climbs out of the folder with '..'"),
        ("a\\..\\..\\evil.csv", "climbs out of the folder with '..'"),
        ("/etc/evil", "has an absolute path"),
        ("C:\\evil.csv", "has an absolute path"),
        ("\\evil.csv", "has an absolute path"),
        ("n" * 256, "has a name that is too long"),
        ("/".join(["n" * 200] * 6), "has a name that is too long"),
        ("d/" * 40 + "evil.csv", "lies more than 32 folders deep"),
        (".", "has no usable name"),
        ("fine.csv/evil.csv", "is in the place of another"),
    ],
)
def test_a_zip_that_reaches_outside_is_refused_whole(tmp_path: Path, name: str, words: str) -> None:
    archive = put_zip(tmp_path / "a.zip", {"fine.csv": "x", name: "y"})
    problems: list[Problem] = []
    unpacked(archive, tmp_path / "cache", problems)
    assert [(problem.file, words in problem.message) for problem in problems] == [(archive, True)]
    assert everything_below(tmp_path) == ["a.zip", "cache", "cache/unpacked"]


@pytest.mark.parametrize(
    "member",
    [
        tar_member("link", tarfile.SYMTYPE, "/etc/passwd"),
        tar_member("link", tarfile.LNKTYPE, "../outside"),
        tar_member("pipe", tarfile.FIFOTYPE),
        tar_member("device", tarfile.CHRTYPE),
        tar_member("../climbing", size=1),
        tar_member("/absolute", size=1),
    ],
)
def test_links_devices_and_outside_paths_in_tars_are_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    archive = put_tar(tmp_path / "a.tar.gz", tar_member("fine.csv", size=2), member)
    faults = extract(archive, tmp_path / "out")
    assert len(faults) == 1
    assert repr(member.name) in faults[0].message
    assert not (tmp_path / "out").exists()


def test_a_symbolic_link_inside_a_zip_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "is a link or a device" in extract(tmp_path / "a.zip", tmp_path / "out")[0].message


def test_a_damaged_archive_is_a_problem(tmp_path: Path) -> None:
    whole = put_zip(tmp_path / "a.zip", {"f": "some text that is long enough"}).read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(b"long", b"LONG"))
    assert "cannot be unpacked (Bad CRC-32" in extract(tmp_path / "a.zip", tmp_path / "out")[0].message


def test_only_archives_are_taken_for_archives(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text('{"data": []}')
    (tmp_path / "empty").touch()
    assert is_archive(put_zip(tmp_path / "noname", {"f": "x"}))
    assert is_archive(put_tar(tmp_path / "a.tgz", tar_member("f")))
    assert not any(is_archive(path) for path in (tmp_path / "dev.json", tmp_path / "empty", tmp_path))
    (tmp_path / "zeros.tar").write_bytes(bytes(4096))
    (tmp_path / "zeros.gz").write_bytes(gzip.compress(bytes(4096)))
    (tmp_path / "twice.tgz").write_bytes(lzma.compress((tmp_path / "a.tgz").read_bytes()))
    assert not any(is_archive(tmp_path / name) for name in ("zeros.tar", "zeros.gz", "twice.tgz"))


def test_descending_stops_at_a_folder_with_files(tmp_path: Path) -> None:
    (tmp_path / "one" / "two").mkdir(parents=True)
    (tmp_path / "one" / "two" / "f").touch()
    assert folder_of_files(tmp_path) == tmp_path / "one" / "two"


def told(archive: Path, tmp_path: Path) -> str:
    """Return the one problem of an archive as a stream's path; nothing is left behind."""
    damage = damaged_archive(archive)
    problems = [damage] if damage else []
    if not problems:
        unpacked(archive, tmp_path / "cache", problems)
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))
    (problem,) = problems
    return problem.message


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_cut_zip_is_said_to_be_cut(tmp_path: Path, share: float) -> None:
    whole = put_zip(tmp_path / "a.zip", {f"f{i}": "some text" * i for i in range(9)}).read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[: int(share * len(whole))])
    assert "a zip archive without its end: it is cut off" in told(tmp_path / "a.zip", tmp_path)


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_cut_tar_is_a_problem_at_any_place(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    with tarfile.open(path, "w") as archive:
        for i in range(4):
            archive.addfile(tar_member(f"f{i}", size=700), io.BytesIO(random.Random(i).randbytes(700)))
    packings: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    pack = packings.get(ending.removeprefix("tar."), bytes)
    whole = pack(path.read_bytes())
    path.write_bytes(whole)
    assert extract(path, tmp_path / "whole") == [] and is_archive(path)
    places = range(100, 6144, 512) if ending == "tar" else range(20, len(whole), 300)
    for place in (*places, *(range(512, 6144, 512) if ending == "tar" else ())):  # between members too
        path.write_bytes(whole[:place])
        assert told(path, tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html>\n<title>404</title>", "is a web page"),
        (b"no archive", "is no zip or tar archive"),
        (b"Rar!\x1a\x07", "is a rar archive"),
    ],
)
def test_what_lies_in_an_archives_place_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "data.tar.gz").write_bytes(content)
    assert words in told(tmp_path / "data.tar.gz", tmp_path)
    (tmp_path / "data.json").write_bytes(content)
    assert damaged_archive(tmp_path / "data.json") is None  # its reader tells


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [("CMT_MAX_UNPACKED_FILES", "2", "3"), ("CMT_MAX_UNPACKED_BYTES", "2999", "10240")],
)
def test_unpacking_stops_at_limits_that_it_names(
    tmp_path: Path, kind: str, setting: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "zip":
        archive = put_zip(tmp_path / "a", dict.fromkeys("abc", "x" * 1000))
    else:
        archive = put_tar(tmp_path / "a", *(tar_member(name, size=1000) for name in "abc"))
    monkeypatch.setenv(setting, value)
    message = told(archive, tmp_path)
    assert f"more than {int(value):,}" in message and f"set {setting} in the environment" in message
    monkeypatch.setenv(setting, allowed)
    assert extract(archive, tmp_path / "out") == []


def test_little_that_unpacks_to_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_RATIO_COUNTS_FROM", 2**20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2**21))
    assert "set CMT_MAX_UNPACKED_RATIO in the environment" in told(tmp_path / "a.zip", tmp_path)
    tar = put_tar(tmp_path / "a.tgz", tar_member("x", size=2**21))
    assert "set CMT_MAX_UNPACKED_RATIO in the environment" in told(tar, tmp_path)
    monkeypatch.setenv("CMT_MAX_UNPACKED_RATIO", "2000")
    assert extract(tar, tmp_path / "out") == []


def test_headers_and_sizes_of_tars_are_bounded(tmp_path: Path) -> None:
    long = tar_member("f")
    long.pax_headers = {"comment": "x" * 2**21}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(long)
    assert "is no zip or tar archive" in told(tmp_path / "a.tar", tmp_path)
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.addfile(tar_member("fine"))
        archive.addfile(long)
    assert "a header has more than 1,048,576 bytes" in told(tmp_path / "b.tar", tmp_path)
    raw = bytearray(put_tar(tmp_path / "c.tgz", tar_member("f", size=2), tar_member("g")).read_bytes())
    tar = bytearray(gzip.decompress(raw))
    tar[124:136] = (-1024 + 2**96).to_bytes(12, "big")  # a negative number in base 256
    tar[148:156] = b" " * 8
    tar[148:156] = b"%06o\0 " % sum(tar[:512])
    (tmp_path / "c.tgz").write_bytes(gzip.compress(tar))
    assert "negative" in told(tmp_path / "c.tgz", tmp_path)


def test_members_that_stand_twice_or_very_deep_are_refused(tmp_path: Path) -> None:
    twice = put_tar(tmp_path / "a.tgz", tar_member("d/f", size=1), tar_member("d/./f", size=2))
    assert "member 'd/./f' occurs twice" in told(twice, tmp_path)
    assert "folders deep" in told(put_zip(tmp_path / "a.zip", {"d/" * 40 + "f": "x"}), tmp_path)


def test_a_member_with_a_wrong_size_is_a_problem(tmp_path: Path) -> None:
    raw = bytearray(put_zip(tmp_path / "a.zip", {"f": "x" * 5000}).read_bytes())
    place = raw.index(b"PK\x01\x02")
    raw[place + 24 : place + 28] = (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(raw)
    assert "cannot be unpacked" in told(tmp_path / "a.zip", tmp_path)


def test_an_archive_in_an_archive_is_named(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inner = put_zip(empty_folder / "inner.zip", {"train.csv": "text,label"})
    with zipfile.ZipFile("outer.zip", "w") as archive:
        archive.write(inner, "inner.zip")
    for name in ("labelled", "trace", "superni_o1", "semeval2010", "squad"):
        assert cmt("data", "check", name, "--path", "outer.zip") == 2
        assert "inner.zip' is an archive: unpack it" in capsys.readouterr().out
