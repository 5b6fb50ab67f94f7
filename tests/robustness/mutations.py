"""Damaged copies of valid files, drawn from a seed, and every reader of a stream with files that it reads.

    for name, content in mutations(reader.files, number, seed): outcome(reader, folder, name, content)

A copy may be refused by a UserError, be read as before, or be read as something else. The last is told: the sha256 of
each file that was read stands in the stream's provenance.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import shutil
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from cmt_cli.commands import stream_files
from cmt_cli.config import catalog, targets
from cmt_cli.core.exceptions import CmtWarning, UserError
from cmt_cli.core.stream import Stream
from tests.robustness.deadline import within_seconds

Files = Mapping[str, bytes]  # by their names below a folder
Mutate = Callable[[bytes, random.Random], bytes]
SECONDS = 30.0  # for one read
_FEW_TASKS = ("data.num_tasks=2",)  # of streams that count them in documents
_LONG = 2**18  # bytes
_JUNK = (b"\0", b"\xff\xfe", b'"', b"[" * 3000, b"\r", b"\t\t", b"\n\n", b"9" * 5000, b"1e999", b"NaN", b"null")
_LINE_ENDS = (b"\r", b"\r\n", b"\0", "\u2028".encode(), b"\n\n")
_TEXTS = (b"\x1b[2J", b"\\ud800", "\u202e".encode(), b"{}", b"<e1>", b"</lex>", b"\xef\xbb\xbf", b"B-", b"://", b"\\")


@dataclass(frozen=True, slots=True)
class Reader:
    """Valid files of a stream, and the call that reads them from a folder, or from the one file of an archive."""

    name: str
    files: Files
    read: Callable[[Path], Stream]


def _part(content: bytes, rng: random.Random) -> tuple[int, int]:
    begin = rng.randrange(len(content) + 1)
    return begin, min(len(content), begin + rng.choice((1, 7, 40, 600)))


def _flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8) if content else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _without(content: bytes, rng: random.Random) -> bytes:
    begin, end = _part(content, rng)
    return content[:begin] + content[end:]


def _zeroed(content: bytes, rng: random.Random) -> bytes:
    begin, end = _part(content, rng)
    return content[:begin] + bytes(end - begin) + content[end:]


def _twice(content: bytes, rng: random.Random) -> bytes:
    begin, end = _part(content, rng)
    return content[:end] + content[begin:end] * rng.randint(1, 3) + content[end:]


def _swapped(content: bytes, rng: random.Random) -> bytes:
    a, b, c, d = sorted(rng.randrange(len(content) + 1) for _ in range(4))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def _inserted(junk: tuple[bytes, ...]) -> Mutate:
    def insert(content: bytes, rng: random.Random) -> bytes:
        place = rng.randrange(len(content) + 1)
        return content[:place] + rng.choice(junk) + content[place:]

    return insert


def _lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    change = rng.choice(("swap", "double", "drop", "cut"))
    if not lines:
        return content
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    if change == "swap":
        lines[i], lines[j] = lines[j], lines[i]
    elif change == "double":
        lines.insert(j, lines[i])
    elif change == "drop":
        del lines[i]
    else:
        del lines[i:]
    return b"".join(lines)


def _encoded(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("latin-1")
    return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037", "utf-7")), errors="replace")


def _in_latin(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + "Zürich café".encode("latin-1") + content[place:]


def _foreign(content: bytes, rng: random.Random) -> bytes:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"
    page = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("file", content)
    return rng.choice((pointer, page, archive.getvalue(), b"%PDF-1.7\n", b"\x80\x04\x95.", b"PAR1PAR1", b"<Error/>"))


def _packed(content: bytes, rng: random.Random) -> bytes:
    pack = rng.choice((gzip.compress, bz2.compress, lzma.compress))
    found = pack(content)
    return rng.choice((found, found[: rng.randrange(len(found))], _flipped(found, rng), found + found, found + b"junk"))


KINDS: dict[str, Mutate] = {
    "cut": lambda content, rng: content[: rng.randrange(len(content) + 1)],
    "begin lost": lambda content, rng: content[rng.randrange(len(content) + 1) :],
    "last bytes lost": lambda content, rng: content[: -rng.randint(1, 30)],
    "bits flipped": _flipped,
    "block lost": _without,
    "block zeroed": _zeroed,
    "block doubled": _twice,
    "blocks swapped": _swapped,
    "lines changed": _lines,
    "junk inserted": _inserted(_JUNK),
    "text inserted": _inserted(_TEXTS),
    "random bytes inserted": lambda content, rng: _inserted((rng.randbytes(rng.randint(1, 60)),))(content, rng),
    "other encoding": _encoded,
    "part in Latin-1": _in_latin,
    "empty": lambda content, rng: rng.choice((b"", b"\n", b" \n\t\n", b"\0", b"\xef\xbb\xbf")),
    "one huge line": lambda content, rng: (
        content.replace(b"\n", b" ") + b"x " * (_LONG // 2) + rng.choice((b"", b"\n"))
    ),
    "other line ends": lambda content, rng: content.replace(
        b"\n", rng.choice((b"\r", b"\r\n", b"\0", "\u2028".encode()))
    ),
    "other format": _foreign,
    "packed": _packed,
    "replaced": lambda content, rng: rng.choice(_JUNK + _TEXTS),
}


def mutations(files: Files, number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield `number` times the name of a file and a damaged copy of it; the kinds take turns."""
    rng, names, kinds = random.Random(seed), sorted(files), list(KINDS.values())
    rng.shuffle(kinds)
    for index in range(number):
        name = rng.choice(names)
        yield name, kinds[index % len(kinds)](files[name], rng)


def put(folder: Path, files: Files) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def outcome(reader: Reader, folder: Path, name: str, content: bytes) -> str:
    """Read a copy of a reader's files in an empty `folder`, one of them damaged: "refused", "same" or "changed".

    Raises what is no UserError, and AssertionError where a difference is told by no digest.
    """
    put(folder, {**reader.files, name: content})
    try:
        with within_seconds(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore", CmtWarning)
            stream = reader.read(folder)
    except UserError as error:
        assert str(error).strip() and "\n" not in str(error).strip(), str(error)
        return "refused"
    finally:
        shutil.rmtree(folder)
    whole = _whole(reader)
    if (stream.tasks, stream.tests, stream.episodes) == (whole.tasks, whole.tests, whole.episodes):
        return "same"
    assert stream.provenance.files != whole.provenance.files, f"{reader.name}: {name} changed in silence"
    return "changed"


@cache
def _whole_of(name: str) -> Stream:
    reader = next(reader for reader in readers() if reader.name == name)
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder), reader.files)
        return reader.read(Path(folder))


def _whole(reader: Reader) -> Stream:
    return _whole_of(reader.name)


@cache
def readers() -> tuple[Reader, ...]:
    """Return a reader for each stream that reads files, and for each format that a stream takes besides."""
    names = [
        option.name for option in catalog.options("data", [catalog.conf_dir()]) if "path" in _settings(option.name).data
    ]
    streams = [_stream(name) for name in dict.fromkeys(names)]
    packed = {reader.name: reader for reader in streams}["streamingqa"]
    return (*streams, _spans(), _questions(), *_tables(), *_archives(packed))


@cache
def _settings(name: str, overrides: tuple[str, ...] = ()) -> stream_files.StreamSettings:
    return stream_files.settings_of(name, overrides)


def _read(name: str, file: str = "", overrides: tuple[str, ...] = ()) -> Callable[[Path], Stream]:
    """Return the call that builds a stream from a folder, or from one file in it, as a run does."""

    def read(folder: Path) -> Stream:
        found = _settings(name, overrides)
        with tempfile.TemporaryDirectory() as cache_folder:
            data = {**found.data, "path": str(folder / file), "cache": cache_folder}
            made: Stream = targets.instantiate(data, found.trusted)
            return made

    return read


def _stream(name: str) -> Reader:
    """Return a stream's reader with a few rows that its own generator writes."""
    found = _settings(name)
    layout = stream_files.layout_of(found)
    assert layout is not None, name
    node = found.data["generated"]
    few = {key: min(value, 4) for key, value in node.items() if key.startswith("num_") and isinstance(value, int)}
    generator = targets.instantiate({**node, **few})
    made = next(getattr(generator, what) for what in ("corpus", "articles", "countries") if hasattr(generator, what))
    with tempfile.TemporaryDirectory() as folder:
        layout.write(Path(folder), made())
        files = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    return Reader(
        name,
        files,
        _read(name, overrides=_FEW_TASKS if "num_tasks" in found.data and "selection" in found.data else ()),
    )


def _spans() -> Reader:
    """Return the reader of entities as spans of characters and of tokens."""
    rows: tuple[dict[str, Any], ...] = (
        {"text": "Moor sang in Kelham .", "entities": [{"start": 0, "end": 4, "type": "person"}, [13, 19, "city"]]},
        {"tokens": ["Ada", "lives", "there"], "entities": [{"start": 0, "end": 1, "label": "person"}]},
    )
    content = "".join(json.dumps({**row, "id": i}) + "\n" for i, row in enumerate(rows * 3)).encode()
    files = {f"{task}/{split}.jsonl": content for task in ("music", "politics") for split in ("train", "dev", "test")}
    overrides = ("data.order=[music,politics]", "data.split_policy.overlap=keep")
    return Reader("crossner.jsonl", files, _read("crossner", overrides=overrides))


def _questions() -> Reader:
    """Return the reader of StreamingQA's own layout."""
    keys = {split: [f"{split}{i}\0\1" for i in range(4)] for split in ("train", "valid", "eval")}
    files = {
        f"streaminqa_{split}.jsonl": "".join(
            json.dumps({"qa_id": key, "question": f"Who won {i}?", "answers": [f"Team {i}."], "answers_additional": [],
                        "evidence_ts": 1582531200 + i, "evidence_id": key}) + "\n"
            for i, key in enumerate(names)
        ).encode()
        for split, names in keys.items()
    }  # fmt: skip
    documents = ({"id": key, "text": f"A text of {key[:-2]}."} for names in keys.values() for key in names)
    files["documents.jsonl"] = "".join(json.dumps(row) + "\n" for row in documents).encode()
    return Reader("streamingqa.jsonl", files, _read("streamingqa", overrides=_FEW_TASKS))


def _tables() -> Iterator[Reader]:
    """Yield the readers of `data=labelled`, of each format and of each that packs one."""
    rows = [{"text": f"text {i} of {'ab'[i % 2]}, äöü", "label": "xy"[i % 2]} for i in range(12)]
    table = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    csv = "text,label\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in rows)
    jsonl = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    formats = {
        "csv": csv.encode(),
        "tsv": "".join(f"{a}\t{b}\n" for a, b in [("text", "label"), *(row.values() for row in rows)]).encode(),
        "json": json.dumps({"train": rows[:8], "test": rows[8:]}, indent=1).encode(),
        "jsonl": jsonl,
        "parquet": table.getvalue(),
        "csv.gz": gzip.compress(csv.encode()),
        "jsonl.bz2": bz2.compress(jsonl),
        "jsonl.xz": lzma.compress(jsonl),
        "csv.zst": pyarrow.compress(csv.encode(), codec="zstd", asbytes=True),
    }
    for ending, content in formats.items():
        yield Reader(f"labelled.{ending}", {f"rows.{ending}": content}, _read("labelled", f"rows.{ending}"))


def _archives(reader: Reader) -> Iterator[Reader]:
    """Yield the reader of a stream whose files lie in an archive."""
    packed, bare = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in reader.files.items():
            archive.writestr(f"inner/{name}", content)
    with tarfile.open(fileobj=bare, mode="w") as tar:
        for name, content in reader.files.items():
            member = tarfile.TarInfo(f"inner/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    contents = {"data.zip": packed.getvalue(), "data.tar": bare.getvalue(), "data.tgz": gzip.compress(bare.getvalue())}
    for file, content in contents.items():
        yield Reader(f"{reader.name} in {file}", {file: content}, _read(reader.name, file, _FEW_TASKS))
