"""One commit of a data set of the hub: which files it has, and each of them downloaded and compared with its hash.

Files lie in the hub library's own cache (HF_HOME), so a repeated download is none, and a half one is never taken for a
whole: the library renames what is complete, and here its sha256 (of a large file) or git hash (of a small one) is
compared with what the hub lists. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are respected. Without a network a commit
that is in the cache is used.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cmt_cli.data.files.fetched import Progress
from cmt_cli.data.files.reading import sha256_of
from cmt_cli.data.hub.hub_errors import HubError, is_unreachable, telling

COMMIT = re.compile(r"[0-9a-f]{40}")
SECONDS_TO_WAIT = 10  # for an answer of the hub
_SHARD = re.compile(r"-of-(\d{5})")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub lists it; `sha256` is known of large files, `git_hash` of all that the hub lists."""

    path: str
    size: int
    sha256: str | None
    git_hash: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A commit of a data set, and its files."""

    dataset: str
    commit: str
    files: tuple[HubFile, ...]

    def matching(self, pattern: str) -> list[HubFile]:
        """Return the files that match a glob of as many parts, sorted; none where shards of the table are missing."""
        num_parts = pattern.count("/")
        found = [
            file for file in self.files if file.path.count("/") == num_parts and PurePosixPath(file.path).match(pattern)
        ]
        numbers = [int(match[1]) for file in found if (match := _SHARD.search(file.path))]
        return sorted(found, key=lambda file: file.path) if not numbers or len(found) == numbers[0] else []

    @property
    def has_script(self) -> bool:
        """Return whether the data set is, at least in part, a program."""
        name = self.dataset.rpartition("/")[2]
        return any(file.path == f"{name}.py" for file in self.files)


def snapshot(dataset: str, revision: str) -> Snapshot:
    """Return the commit that a revision (a commit, a branch) is now, and what is in it.

    Raises HubError where the hub cannot be reached, refuses, or has no such data set or revision.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # our own are shown
    from huggingface_hub import HfApi

    with telling(dataset, revision):
        try:
            info = HfApi().dataset_info(dataset, revision=revision, files_metadata=True, timeout=SECONDS_TO_WAIT)
        except Exception as error:
            if is_unreachable(error) and (cached := _cached(dataset, revision)) is not None:
                return cached
            raise
    if not info.sha or not COMMIT.fullmatch(info.sha):
        raise HubError(f"The hub names no commit of {dataset} at {revision}. Check HF_ENDPOINT.")
    files = [
        HubFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None, file.blob_id)
        for file in info.siblings or ()
    ]
    return Snapshot(dataset, info.sha, tuple(files))


def _cached(dataset: str, revision: str) -> Snapshot | None:
    """Return what is in the library's cache of a commit; files there are named by their hashes."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=dataset, repo_type="dataset")
    folder = folder / "snapshots" / revision
    if not COMMIT.fullmatch(revision) or not folder.is_dir():
        return None
    files = []
    for path in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
        name = path.readlink().name if path.is_symlink() else ""  # of ../../blobs/HASH; without links it is not known
        sha256, git_hash = (name if re.fullmatch(rf"[0-9a-f]{{{length}}}", name) else None for length in (64, 40))
        files.append(HubFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256, git_hash))
    return Snapshot(dataset, revision, tuple(files)) if files else None


def check_room(dataset: str, files: list[HubFile]) -> None:
    """Raise HubError where the disk of the library's cache has no room for files of a data set."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE)
    there = next(parent for parent in (place, *place.parents) if parent.is_dir())
    needed, free = sum(file.size for file in files), shutil.disk_usage(there).free
    if needed > free:
        raise HubError(
            f"{dataset} needs {needed / 1e6:,.0f} MB and {place} has {free / 1e6:,.0f} MB left. Make room there, or "
            "set HF_HOME to a folder on another disk."
        )


def downloaded(found: Snapshot, file: HubFile, progress: Progress) -> Path:
    """Return a file of a snapshot in the library's cache, whole: what is damaged there is downloaded once more.

    Raises HubError as `snapshot` does, and where what arrives is not what the hub lists.
    """
    for force in (False, True):
        path = _download(found, file, progress, force=force)
        if _is_whole(path, file):
            return path
    raise HubError(
        f"{file.path} of {found.dataset} at {found.commit[:12]} is not what the hub lists: its size or hash differs. "
        "Repeat the command later; a proxy between here and the hub may change or cut what it passes on."
    )


def _download(found: Snapshot, file: HubFile, progress: Progress, *, force: bool) -> Path:
    from huggingface_hub import hf_hub_download

    what = f"downloading {file.path}"
    bar: Any = _bar(lambda done: progress(what, done, file.size))
    with telling(found.dataset, found.commit):
        path = hf_hub_download(
            found.dataset,
            file.path,
            repo_type="dataset",
            revision=found.commit,
            etag_timeout=SECONDS_TO_WAIT,
            force_download=force,
            tqdm_class=bar,
        )
    return Path(path)


def _is_whole(path: Path, file: HubFile) -> bool:
    size = path.stat().st_size
    if size != file.size:
        return False
    if file.sha256 is not None:
        return sha256_of(path) == file.sha256
    if file.git_hash is not None:
        return hashlib.sha1(b"blob %d\0" % size + path.read_bytes(), usedforsecurity=False).hexdigest() == file.git_hash
    return True


def _bar(show: Callable[[int], None]) -> type[Any]:
    """Return a class that the library takes for a progress bar, and that tells how many bytes have arrived."""

    class Bar:
        def __init__(self, *, initial: int = 0, **others: object) -> None:
            self._done = initial

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def update(self, number: int | None = 1) -> None:
            self._done += number or 0
            show(self._done)

        def close(self) -> None:
            pass

    return Bar
