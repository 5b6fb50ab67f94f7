"""How long the command line takes to answer: wall-clock of whole processes, median of several.

    python benchmarks/startup.py [--repeats 15]

Writes benchmarks/results/startup.md and startup.json. Targets: `cmt --help` 0.3 s, `cmt list methods` 0.7 s.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
COMMANDS: dict[str, float | None] = {  # seconds allowed, None where there is no target
    "--help": 0.3,
    "list methods": 0.7,
    "list matrix": None,
    "run --help": None,
    "run --cfg job": None,
}


def main() -> None:
    """Measure every command and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    record = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "repeats": repeats,
        "commands": {f"cmt {command}": measure(command, repeats) for command in COMMANDS},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "startup.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "startup.md").write_text(table(record), encoding="utf-8")
    print(table(record))


def measure(command: str, repeats: int) -> dict[str, float | None]:
    """Return the median, the fastest and the slowest of `repeats` processes in seconds, after one to warm up."""
    call = [sys.executable, "-m", "cmt_cli.cli", *command.split()]
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        subprocess.run(call, capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    warm = seconds[1:]
    return {
        "median_seconds": round(statistics.median(warm), 3),
        "min_seconds": round(min(warm), 3),
        "max_seconds": round(max(warm), 3),
        "target_seconds": COMMANDS[command],
    }


def table(record: dict) -> str:
    """Return the record as a Markdown table."""
    lines = [
        "# Start-up of the command line",
        "",
        f"Median of {record['repeats']} processes, warm file cache. {record['machine']}. {record['date']}.",
        "",
        "| command | median s | fastest s | slowest s | target s |",
        "|---|---|---|---|---|",
    ]
    for name, row in record["commands"].items():
        target = "" if row["target_seconds"] is None else f"{row['target_seconds']:.1f}"
        seconds = " | ".join(f"{row[key]:.3f}" for key in ("median_seconds", "min_seconds", "max_seconds"))
        lines.append(f"| `{name}` | {seconds} | {target} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
