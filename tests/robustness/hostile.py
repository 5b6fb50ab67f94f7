"""Run folders as somebody with bad intentions or a bad disk could send them, and what every command makes of them.

What a folder would execute leaves a marker file, and what lies outside of it is compared before and after.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.command_line import SMALL
from tests.robustness.folders import FOREIGN, PLACES, edited, lead_out, put, unfinished
from tests.robustness.forking import Forks

SECONDS = 60.0  # a command on a run of seconds that takes longer hangs
_ESCAPE = "\x1b]0;title\x07\x1b[31mred\x9b2J\u202egnirts"
_MARKUP = "<script>document.title='executed'</script>'\" onload=executed \\input{x} %_#$"
_RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
Change = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Met:
    """What came of one folder: how its commands ended, and what must not have happened but did."""

    name: str
    codes: dict[str, int]
    faults: tuple[str, ...]


def commands(folder: Path) -> dict[str, list[str]]:
    """Return every command that takes a run's folder."""
    name = str(folder)
    return {
        "show": ["show", name],
        "runs": ["runs", str(folder.parent)],
        "compare": ["compare", name],
        "report": ["report", name, "--output", f"{name}/../report.html"],
        "metrics": ["metrics", name, "--add", "chrf"],
        "wandb sync": ["wandb", "sync", name],
        "ask": ["ask", name, "Who?"],
        "resume": ["resume", name],
    }


def _json(change: Callable[[dict[str, Any]], object]) -> Change:
    def changed(folder: Path) -> None:
        path = folder / "result.json"
        result = json.loads(path.read_text())
        change(result)
        path.write_text(json.dumps(result))

    return changed


def _prediction(**values: object) -> Change:
    def changed(folder: Path) -> None:
        path = folder / "predictions" / "row_001.jsonl"
        lines = [json.dumps({**json.loads(line), **values}) for line in path.read_text().splitlines()]
        path.write_text("".join(f"{line}\n" for line in lines))

    return changed


def _text(name: str, content: str | bytes) -> Change:
    def changed(folder: Path) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return changed


def _pipe(name: str) -> Change:
    def changed(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return changed


def _half(name: str) -> Change:
    def changed(folder: Path) -> None:
        for path in folder.glob(name):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return changed


def _config(key: str, value: Any) -> Change:
    return lambda folder: edited(folder, lambda config: put(config, key, value))


def _link(place: str) -> Change:
    return lambda folder: lead_out(folder, place)


def _tests_named(name: str) -> Change:
    def change(result: dict[str, Any]) -> None:
        for matrix in (result, *result["matrices"].values()):
            matrix["tests"] = [f"{name}{index}" for index, _ in enumerate(matrix["tests"])]

    return _json(change)


CASES: dict[str, Change] = {
    **{f"configuration: {name}": _config(key, value) for name, (key, value, _) in FOREIGN.items()},
    **{f"link: {place}": _link(place) for place in PLACES},
    "consent: code of a model's repository": _config("model.trust_remote_code", True),
    "consent: a package": _config("trusted_targets", ["marking"]),
    "place: runs elsewhere": _config("paths.runs", "outside/runs"),
    "place: cache elsewhere": _config("data.cache", "outside/cache"),
    "place: predictions above the folder": _json(lambda r: r.update(predictions=["../../outside/row.jsonl"])),
    "pipe: result.json": _pipe("result.json"),
    "pipe: config.yaml": _pipe("config.yaml"),
    "pipe: events.jsonl": _pipe("events.jsonl"),
    "pipe: a row of predictions": _pipe("predictions/row_001.jsonl"),
    "pipe: the lock": _pipe(".lock"),
    "text: control characters in an answer": _prediction(prediction=_ESCAPE, prompt=_ESCAPE, test=_ESCAPE),
    "text: control characters in a test's name": _tests_named(_ESCAPE),
    "text: control characters in the method's name": _json(lambda r: r.update(method=_ESCAPE)),
    "text: control characters in the error": _json(lambda r: r.update(status="failed", error=_ESCAPE)),
    "text: markup in an answer": _prediction(prediction=_MARKUP, target=_MARKUP),
    "text: markup in a test's name": _tests_named(_MARKUP),
    "text: a formula in a test's name": _tests_named('=HYPERLINK("http://localhost","x")'),
    "yaml: a tag for an object": _text("config.yaml", "method: !!python/object/apply:os.mkdir [executed]\n"),
    "yaml: a list": _text("config.yaml", "- method\n"),
    "yaml: references to itself": _text("config.yaml", "method: &a [*a]\n"),
    "json: a list": _text("result.json", "[]"),
    "json: numbers that are none": _json(lambda r: r.update(seed="NaN", cost={"seconds": "many"})),
    "json: another version": _json(lambda r: r.update(schema_version=99)),
    "json: a matrix of other shape": _json(lambda r: [m.update(rows=[[0.5]]) for m in r["matrices"].values()]),
    "damage: half a result.json": _half("result.json"),
    "damage: half a config.yaml": _half("config.yaml"),
    "damage: half the state": _half("checkpoint/state/*/state.safetensors"),
    "damage: half the predictions": _half("predictions/*.jsonl"),
    "damage: half the scores": _half("scores.csv"),
    "damage: zeros in the events": _text("events.jsonl", b"\0" * 64),
    "damage: zeros in the lock": _text(".lock", b"\0" * 64),
}


def met(forks: Forks, place: Path, *, seed: int = 0) -> Iterator[Met]:
    """Make one run below `place`, change a copy of it in each way, call every command on it; yield what came of it."""
    whole = place / "whole"
    whole.mkdir()
    ended = forks.run(["run", "method=finetune", f"seed={seed}", *SMALL], whole)
    assert ended.code == 0, ended.text
    for number, (name, change) in enumerate(CASES.items()):
        case = place / f"case-{number}"
        shutil.copytree(whole, case)
        (case / "outside").mkdir(exist_ok=True)
        (folder,) = (case / "runs").glob("finetune-*")
        if name.startswith("link: "):
            (case / "outside").rmdir()
        change(folder)
        yield _meet(forks, case, folder, name)


def _meet(forks: Forks, case: Path, folder: Path, name: str) -> Met:
    before = _outside(case)
    codes, faults = {}, []
    for command, words in commands(folder).items():
        if command == "resume" and (folder / "result.json").is_file() and not (folder / "result.json").is_symlink():
            with contextlib.suppress(ValueError, TypeError):  # a result.json that is damaged
                unfinished(folder)
        ended = forks.run(words, case, seconds=SECONDS)
        codes[command] = ended.code
        if ended.code not in (0, 2):
            faults.append(f"{command} left with {ended.code}: {ended.text.strip()[-300:]}")
        if raw := _RAW.search(ended.text):
            faults.append(f"{command} printed {raw[0]!r}")
        if "Traceback" in ended.text:
            faults.append(f"{command} printed a traceback")
    if _outside(case) != before:
        faults.append(f"outside: {before} became {_outside(case)}")
    if list(case.rglob("executed")):
        faults.append("executed")
    return Met(name, codes, tuple(faults))


def _outside(case: Path) -> dict[str, int]:
    """Return what lies in a case's folder outside of its runs and cache, with the times of last changes."""
    own = ("runs", "cache")
    return {
        str(path.relative_to(case)): path.lstat().st_mtime_ns
        for path in sorted(case.rglob("*"))
        if path.relative_to(case).parts[0] not in own
    }
