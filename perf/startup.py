"""How long the command line takes to answer: wall-clock of whole processes, median of several.

    python perf/startup.py [--repeats 15]

Writes perf/results/startup.md and startup.json. Targets: `cmt --help` 0.3 s, `cmt list methods` 0.7 s.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from typing import Any

from reporting import machine, machine_line, parser, table, write

COMMANDS: dict[str, float | None] = {  # seconds allowed, None where there is no target
    "--help": 0.3,
    "list methods": 0.7,
    "list matrix": None,
    "run --help": None,
    "run --cfg job": None,
}


def main() -> None:
    """Measure every command and write the table."""
    options = parser(__doc__)
    options.add_argument("--repeats", type=int, default=15)
    given = options.parse_args()
    record = {
        "machine": machine(given.threads),
        "repeats": given.repeats,
        "commands": {f"cmt {command}": measure(command, given.repeats) for command in COMMANDS},
    }
    write("startup", record, markdown(record), given.results)


def measure(command: str, repeats: int) -> dict[str, float | None]:
    """Return the median, the fastest and the slowest of `repeats` processes in seconds, after one to warm up."""
    call = [sys.executable, "-m", "cmt_cli", *command.split()]
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


def markdown(record: dict[str, Any]) -> str:
    """Return the report."""
    columns = {"command": ("command", ""), "median_seconds": ("median s", ".3f"), "min_seconds": ("fastest s", ".3f")}
    columns |= {"max_seconds": ("slowest s", ".3f"), "target_seconds": ("target s", ".1f")}
    rows = ({"command": f"`{name}`", **row} for name, row in record["commands"].items())
    return "\n".join(
        [
            "# Start-up of the command line\n",
            machine_line(record["machine"], "startup"),
            f"Median of {record['repeats']} processes, warm file cache, Python {platform.python_version()}.\n",
            table(rows, columns),
        ]
    )


if __name__ == "__main__":
    main()
