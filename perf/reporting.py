"""What the benchmarks share: the facts of a machine, timing, Markdown tables, and where results are written."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Columns = Mapping[str, tuple[str, str]]  # key of a row: heading and number format


def machine(num_threads: int) -> dict[str, Any]:
    """Return date, processor, cores, threads in use, torch's version and the load before the benchmark."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": processor(),
        "cores": os.cpu_count(),
        "threads": num_threads,
        "torch": version("torch"),
        "load_average": os.getloadavg()[0],
    }


def machine_line(facts: Mapping[str, Any], made_by: str) -> str:
    """Return the facts as a paragraph; a busy machine is named as such."""
    busy = (
        " Other processes took part of the cores: trust the ratios, not the times."
        if facts["load_average"] > 0.5
        else ""
    )
    return (
        f"{facts['date']}, {facts['device']}, {facts['cores']} cores, {facts['threads']} thread(s), torch "
        f"{facts['torch']}, load average {facts['load_average']:.1f} before. Made by `perf/{made_by}.py`.{busy}\n"
    )


def processor() -> str:
    """Return the processor's model name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def best_seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """Return how long a call takes: the best of several."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def table(rows: Iterable[Mapping[str, Any]], columns: Columns) -> str:
    """Return a Markdown table; a value of None is an empty cell."""
    lines = ["| " + " | ".join(heading for heading, _ in columns.values()) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = ("" if row[key] is None else format(row[key], form) for key, (_, form) in columns.items())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write(name: str, record: Mapping[str, Any], report: str, folder: Path = RESULTS) -> None:
    """Write `name`.json and `name`.md to the folder, and print the report."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(report, encoding="utf-8")
    print(report)


def note(text: str) -> None:
    """Say on the error stream what is being measured."""
    print(text, file=sys.stderr, flush=True)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark of torch code has."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    found.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch; the default is all cores")
    return found
