"""Starting a run on many examples: the first time, and again with what the cache keeps of them.

    python perf/loading.py [--sizes 10000 100000 1000000]

Writes perf/results/loading.md and loading.json; a million examples take about 5 minutes the first time. Files of
made-up requests in the layout of BANKING77 (77 intents, 7 tasks) are written to a temporary folder, and the whole
command is called on them with an empty cache and again with the filled one: `cmt run data=banking77 data.path=...
method=finetune model=tiny trainer.max_steps=1`, which learns one step of every task. A process notes when its first
step is done, and its largest resident memory until then. The scores and predictions of both starts must be the same
bytes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from reporting import machine, machine_line, note, parser, table, write

NUM_INTENTS, NUM_TEST = 77, 770
STARTS = ("first", "second")
SETTINGS = (
    "data=banking77",
    "method=finetune",
    "model=tiny",
    "model.device=cpu",
    "logger=none",
    "trainer.max_steps=1",
    "trainer.micro_batch_size=null",
    "evaluator.max_examples_per_test=1",
    "evaluator.decoding.max_new_tokens=2",
)
WORDS = (
    "card account transfer limit abroad lost cash rate fee app code top up refund pay why was is my the a not".split()
)


def write_files(folder: Path, num_train: int) -> None:
    """Write train.csv and test.csv of texts that all differ."""
    folder.mkdir(parents=True)
    for split, number in (("train", num_train), ("test", NUM_TEST)):
        rng = random.Random(f"{split} {number}")
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("text", "category"))
            for i in range(number):
                words = rng.choices(WORDS, k=rng.randint(4, 16))
                rows.writerow((f"{split} {i} {' '.join(words)}?", f"intent_{i % NUM_INTENTS:02d}"))


def start(files: Path, work: Path, runs: str, threads: int) -> dict[str, Any]:
    """Run the command in a process of its own; return its seconds and resident memory at the first step and in all."""
    settings = (*SETTINGS, f"data.path={files}", f"paths.cache={work / 'cache'}", f"paths.runs={work / runs}")
    timing = work / "timing.json"
    call = [sys.executable, str(Path(__file__).with_name("first_step.py")), str(timing), "run", *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(call, env=environment, capture_output=True, text=True, cwd=work)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(timing.read_text(encoding="utf-8"))
    return found


def fingerprint(runs: Path) -> str:
    """Return a hash of the scores and predictions of the one run in a folder."""
    (folder,) = (path.parent for path in runs.glob("*/result.json"))
    files = [folder / "scores.csv", *sorted((folder / "predictions").iterdir())]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def measure(num_examples: int, threads: int) -> dict[str, Any]:
    """Measure both starts with a number of training rows."""
    work = Path(tempfile.mkdtemp(prefix="loading-"))
    try:
        files = work / "files"
        write_files(files, num_examples)
        row: dict[str, Any] = {"examples": num_examples, "mib": _mib(files)}
        for runs in STARTS:
            note(f"{num_examples:,} examples, {runs} start")
            row[runs] = start(files, work, runs, threads)
        if len({fingerprint(work / runs) for runs in STARTS}) > 1:
            raise SystemExit(f"{num_examples} examples: the second start gave other results than the first.")
        return row | {"cache_mib": _mib(work / "cache") if (work / "cache").exists() else 0.0}
    finally:
        shutil.rmtree(work)


def _mib(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20


def markdown(record: dict[str, Any]) -> str:
    """Return the report."""
    columns = {"examples": ("training examples", ",d"), "mib": ("files, MiB", ",.1f")}
    columns |= {"cache_mib": ("cache, MiB", ",.1f"), "start": ("start", "")}
    columns |= {"seconds": ("s to the first step", ".1f"), "cpu_seconds": ("of them CPU", ".1f")}
    columns |= {"peak_mib": ("peak MiB", ",.0f"), "total_seconds": ("whole command, s", ".1f")}
    columns |= {"total_cpu_seconds": ("of them CPU ", ".1f"), "total_peak_mib": ("peak MiB ", ",.0f")}
    rows = [
        {**{key: row[key] for key in ("examples", "mib", "cache_mib")}, "start": start, **row[start]}
        for row in record["starts"]
        for start in STARTS
    ]
    return "\n".join(
        [
            "# Starting a run on many examples\n",
            machine_line(record["machine"], "loading"),
            "`cmt run data=banking77 method=finetune model=tiny` on made-up rows in the layout of BANKING77, 7 tasks. "
            "Whole processes, from their start. Peak is the largest resident memory of the process until then, torch "
            "and the model included. The whole command learns one step of all 7 tasks. Both starts gave the same "
            "scores and predictions. Files below 2 MiB are read each time.\n",
            table(rows, columns),
        ]
    )


def main() -> None:
    """Measure every size and write the table."""
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    given = options.parse_args()
    record: dict[str, Any] = {"machine": machine(given.threads), "starts": []}
    for size in given.sizes:
        record["starts"].append(measure(size, given.threads))
        write("loading", record, markdown(record), given.results)


if __name__ == "__main__":
    main()
