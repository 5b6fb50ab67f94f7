"""Archives: plain files come out, everything else is refused before a byte is written."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from cmt_cli.data.files.archives import extract, folder_of_files, is_archive, unpacked
from cmt_cli.data.files.problems import Problem


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


def test_descending_stops_at_a_folder_with_files(tmp_path: Path) -> None:
    (tmp_path / "one" / "two").mkdir(parents=True)
    (tmp_path / "one" / "two" / "f").touch()
    assert folder_of_files(tmp_path) == tmp_path / "one" / "two"
