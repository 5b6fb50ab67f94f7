"""Let finished runs learn ten times as many documents than they were run with, and ask them again.

    python experiments/qa_large.py                 # runs/qa_methods/methods/{cmt,mac}, 5,000 documents
    python experiments/qa_large.py --table-only    # from what was measured before

Meta-training does not depend on the stream's length, so the weights of the run are used as they are; the bank is made
anew from the larger stream, whose first documents are the run's. What a run scores is kept in large_<documents>.json
beside its folder. The table goes to experiments/results/qa_large.md and between the markers of docs/results.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from finished import FinishedRun, mean
from tables import ROOT, publish, shown

from cmt_cli.analysis.find_runs import find_runs
from cmt_cli.core.atomic import write_json

COLUMNS = {"exact match": "em", "token F1": "f1", "recall@1": "recall_at_1", "recall@8": "recall_at_k"}


def measure(folder: Path, num_documents: int) -> list[float | None]:
    """Return the values of the columns for one run."""
    run = FinishedRun(folder)
    stream = run.larger_stream(num_documents)
    run.fill(stream, {})
    tests = run.ask(run.method.predictor(run.learner, len(stream.tasks) - 1), stream)
    return [mean(tests, metric) for metric in COLUMNS.values()]


def main() -> None:
    """Measure every run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "qa_methods" / "methods")
    parser.add_argument("--methods", nargs="+", default=["cmt", "mac"])
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    lines = ["| method | seeds | " + " | ".join(COLUMNS) + " |", "|---|---|" + "---|" * len(COLUMNS)]
    for method in arguments.methods:
        rows = []
        for found in find_runs(arguments.runs / method):
            kept = found.folder.with_name(f"{found.folder.name}.large_{arguments.documents}.json")
            if not arguments.table_only:
                write_json(kept, measure(found.folder, arguments.documents))
            if kept.is_file():
                rows.append(json.loads(kept.read_text(encoding="utf-8")))
                print(found.folder.name, rows[-1], flush=True)
        values = [shown([row[i] for row in rows], "{:.3f}") for i in range(len(COLUMNS))]
        lines.append(f"| {method} | {len(rows)} | " + " | ".join(values) + " |")
    publish("qa_large", f"**{arguments.documents:,} documents** (generated data)\n\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
