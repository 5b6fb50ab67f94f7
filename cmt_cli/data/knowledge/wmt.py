"""Articles of the WMT News Crawl by the sorting keys that StreamingQA's evidence ids are.

A line of news-docs.YEAR.en.filtered.gz holds three fields separated by tabs: the date (20200517), the article split
into sentences and the article as it was, both in base64. The key is the date with twelve zeros, NUL and SOH, the
sha256 of the third field as it stands, NUL and SOH (google-deepmind/streamingqa, extraction.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.data.files.fetched import Progress
from cmt_cli.data.files.limits import LimitError
from cmt_cli.data.files.opening import DAMAGE, open_bytes, raw_lines

KEY_SEPARATOR = "\x00\x01"
DATE_DIGITS = 8
LINES_PER_REPORT = 20_000


def readable_id(evidence_id: str) -> str:
    """Return an evidence id without its control characters: the date and the hash joined by a hyphen."""
    return evidence_id.replace(KEY_SEPARATOR, "-").strip("-")


def archives(folder: Path) -> list[Path]:
    """Return the WMT archives of a folder, by year."""
    return sorted(folder.glob("news-docs.*.gz"))


def write_documents(target: Path, wanted: set[str], progress: Progress) -> int:
    """Write the wanted articles of the archives beside `target` as jsonl (id, text, date); return how many were found.

    Raises UserError where an archive is damaged or no article is found; `target` is written whole or not at all.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    found = 0
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            for archive in archives(target.parent):
                for key, text in matching_articles(archive, wanted):
                    if key is not None:
                        date = f"{key[:4]}-{key[4:6]}-{key[6:8]}"
                        stream.write(json.dumps({"id": key, "text": text, "date": date}, ensure_ascii=False) + "\n")
                        found += 1
                    progress(f"reading {archive.name}", found, len(wanted))
            stream.flush()
            os.fsync(stream.fileno())
        if not found:
            raise UserError(
                f"None of the {counted(len(wanted), 'article')} wanted is in the archives of {target.parent}."
            )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return found


def matching_articles(archive: Path, wanted: set[str]) -> Iterator[tuple[str | None, str]]:
    """Yield key and text of each wanted article once, and (None, "") now and then so that progress can be shown."""
    dates = {key[:DATE_DIGITS].encode() for key in wanted}
    seen: set[str] = set()
    number = 0
    try:
        with open_bytes(archive) as stream:
            for number, line in enumerate(raw_lines(stream), start=1):
                if number % LINES_PER_REPORT == 0:
                    yield None, ""
                if line[:DATE_DIGITS] not in dates:
                    continue
                date, split_text, whole_text = line.strip().split(b"\t")
                digest = hashlib.sha256(whole_text).hexdigest()
                key = f"{date.decode()}{'0' * 12}{KEY_SEPARATOR}{digest}{KEY_SEPARATOR}"
                if key in wanted and key not in seen:
                    seen.add(key)
                    yield key, base64.b64decode(split_text, validate=True).decode()
    except LimitError as error:
        raise UserError(f"{archive}:{number + 1}: {error}.") from error
    except ValueError as error:
        raise UserError(f"{archive}:{number}: is no line of a WMT archive ({error}).") from error
    except (*DAMAGE, OSError) as error:
        raise UserError(f"{archive}:{number + 1}: the archive is damaged ({error}).") from error
