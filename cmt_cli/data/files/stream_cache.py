"""Caches streams of large files on disk, under a hash of everything that decides what they hold.

That is the content and names of all files at the stream's path, every setting of the stream, and the code of this
package that reads streams, so neither a changed file, another setting nor a mended reader is ever served old rows.
Generated and small streams are built each time, which is quicker than looking them up.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cmt_cli.core.atomic import note_use, published
from cmt_cli.core.exceptions import CmtWarning
from cmt_cli.core.stored_rows import DamagedFile
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.content_hashes import Listing, listing
from cmt_cli.data.files.origin import is_generated, is_present
from cmt_cli.data.files.stored_stream import read_stream, write_stream
from cmt_cli.data.files.stream_content import identified

FOLDER = "streams"  # below the cache
MIN_BYTES = 2 * 2**20  # of a stream's files; below, reading takes about as long as finding what was kept
_OWN = "cmt_cli.data."  # targets whose code the key covers
_NO_SETTINGS = ("cache", "default_path", "auto_may_generate")  # they decide what is read where `path` holds nothing


def cached(
    settings: Mapping[str, Any],
    build: Callable[[], Stream],
    *,
    cache: Path,
    note: Callable[[str], None] = lambda text: None,
) -> Stream:
    """Return the stream of plain `settings` as `build()` makes it, from `cache` where it is kept there.

    `note` is told where files are about to be read for the first time, which may take minutes. A folder of the cache
    that is damaged is made anew with a warning, and one that cannot be written costs nothing but a warning.
    """
    files = _files(settings, cache)
    if files is None or files.num_bytes < MIN_BYTES:
        return build()
    try:
        folder = cache / FOLDER / _key(settings, files, cache)
        found = _opened(folder, cache)
    except OSError:  # of a file, which its reader will explain, or of a cache that may not be written
        return build()
    if found is not None:
        return found
    note(f"Reading {files.num_bytes / 2**20:,.0f} MiB at {files.root}; the next start takes what is kept of it.")
    stream = build()
    if listing(files.root) != files:  # changed while it was read: nobody knows which content was seen
        return stream
    try:
        return _kept(stream, folder, cache)
    except (OSError, DamagedFile) as error:
        warnings.warn(
            f"What was read cannot be kept in {folder} ({error}); it is held in memory.", CmtWarning, stacklevel=2
        )
        return stream


def _files(settings: Mapping[str, Any], cache: Path) -> Listing | None:
    """Return the files that a stream's settings lead to; None where they cannot be told before they are read."""
    own = str(settings.get("_target_", "")).startswith(_OWN)
    path = settings.get("path")
    if not own or not isinstance(path, str) or settings.get("source") == "generated":
        return None
    root = Path(path).expanduser()
    return listing(root) if is_present(root) else None


def _key(settings: Mapping[str, Any], files: Listing, cache: Path) -> str:
    facts = {
        "settings": {key: value for key, value in settings.items() if key not in _NO_SETTINGS},
        "path": str(files.root.absolute()),
        "files": files.sha256(cache),
        "is_generated": is_generated(files.root),
        "code": _code_fingerprint(),
        "python": sys.version_info[:2],  # letters and their lower case are its tables
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _code_fingerprint() -> str:
    """Return a hash of the code that reads streams and of the nouns that it makes."""
    data = Path(__file__).parents[1]
    core = (data.parent / "core" / name for name in ("stream.py", "stored_rows.py"))
    sources = [*sorted(data.rglob("*.py")), *core]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _opened(folder: Path, cache: Path) -> Stream | None:
    if not folder.is_dir():
        return None
    try:
        found = read_stream(folder, cache)
        note_use(folder)
        return found
    except DamagedFile as error:
        warnings.warn(f"A kept stream is damaged and is read anew from its files: {error}.", CmtWarning, stacklevel=2)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _kept(stream: Stream, folder: Path, cache: Path) -> Stream:
    with published(folder) as inner:
        write_stream(identified(stream), inner)
    return read_stream(folder, cache)
