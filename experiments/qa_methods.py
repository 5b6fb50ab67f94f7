"""Which method answers questions about a stream of documents best, and what does each cost?

    python experiments/qa_methods.py                 # run what is missing, then print and write the table
    python experiments/qa_methods.py --table-only    # from the run folders alone

The generated stream, three seeds; every cell is one `cmt run` whose folder is kept, so a second call repeats nothing.
The amortized methods share encoder, steps and (within 10 %) trainable parameters. Learning rates of the fine-tuning
methods were chosen on the validation split by experiments/qa_learning_rates.py. The table goes to
experiments/results/qa_methods.md, between the README's markers, and the curves to docs/retention.png.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
METHODS = (
    "cmt",
    "mac",
    "mbc",
    "camels",
    "uniform",
    "salient_spans",
    "joint",
    "frozen",
    "bm25",
    "full_context",
)
LARGE = "data.generated.num_test_documents=5000 data.selection.max_test_documents=null evaluator.rows=last".split()
ABLATIONS = {
    "cmt, no memory-aware objective": "method.techniques.memory_aware_objective=false",
    "cmt, no self-matching": "method.techniques.self_matching=false",
    "cmt, no top-k aggregation": "method.techniques.top_k_aggregation=false",
}


def cells() -> Iterable[tuple[str, str, int, list[str]]]:
    """Yield (row label, group, seed, overrides) of every run, the ones that matter most first."""
    for seed in SEEDS:
        for method in METHODS:
            yield method, "500 documents", seed, [f"method={method}"]
    for seed in SEEDS:
        for method in ("cmt", "mac"):
            yield method, "5,000 documents", seed, [f"method={method}", *LARGE]
    for label, switch in ABLATIONS.items():
        for seed in SEEDS:
            yield label, "ablation", seed, ["method=cmt", switch]


def run(overrides: list[str], seed: int, runs: Path) -> None:
    """Run one cell in a process of its own; a finished one is only printed by `cmt run`."""
    command = [sys.executable, "-m", "cmt_cli", "run", "data=streamingqa", "data.source=generated", "logger=none"]
    subprocess.run([*command, f"seed={seed}", f"paths.runs={runs}", *overrides], check=True, cwd=ROOT)


def main() -> None:
    """Run the grid and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "qa_methods")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table_only:
        for label, group, seed, overrides in cells():
            print(f"== {group}: {label}, seed {seed}", flush=True)
            run(overrides, seed, arguments.runs)


if __name__ == "__main__":
    main()
