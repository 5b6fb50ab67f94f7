"""Write docs/reproduction.md: every published table with our numbers beside the paper's, from the run folders alone.

python experiments/reproduction.py --runs runs
python experiments/reproduction.py --check           # compose every cell's overrides, as `cmt run` would
"""

from __future__ import annotations

import argparse
from pathlib import Path

import published_clinc150
import published_cmt
import published_long_sequence
import published_pretraining
import published_trace
import published_zsre
from published import ROOT, Table, complete_runs, key_of, markdown, num_run

from cmt_cli.core.exceptions import UserError

TABLES: tuple[Table, ...] = (
    published_cmt.TABLE,
    published_trace.TABLE,
    published_long_sequence.TABLE,
    published_clinc150.TABLE,
    published_zsre.TABLE,
    published_pretraining.TABLE,
)
INTRODUCTION = """\
# Published tables and our numbers

Made by `python experiments/reproduction.py --runs runs` from the run folders; edit nothing here. Each table is a file
in `experiments/`: `python experiments/published_trace.py --commands` prints its runs, `--run` makes them. Our number is
the mean ± sample deviation over the complete runs on real data and the test split whose configuration is exactly that
of the cell, over seeds and orders; without such a run the cell says "not run". Numbers measured at other sizes (the
embedded model, generated data) are in `experiments/results/` and never stand here.

Published numbers carry their source: without a mark they were read in the paper; † quoted from another paper's table or
notes. "not checked": the source has not been read for this number, so none is given.
"""


def report(runs: Path) -> str:
    """Return the whole file."""
    found = complete_runs(runs)
    lines = ["| table | cells run | cells that can be run | cells |", "|---|---|---|---|"]
    for table in TABLES:
        run, possible, total = num_run(table, found)
        lines.append(f"| {table.title} | {run} | {possible} | {total} |")
    return "\n".join([INTRODUCTION, *lines, "", *(markdown(table, found) + "\n" for table in TABLES)])


def check() -> int:
    """Compose every job; print what does not compose, and return how many do."""
    composed = 0
    for table in TABLES:
        for cell in table.cells:
            for job in cell.jobs:
                try:
                    key_of(job)
                    composed += 1
                except UserError as error:
                    print(f"{table.name}, {cell.column}, {cell.row}: {error}")
    return composed


def main() -> None:
    """Write the file, or check all overrides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "reproduction.md")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if given.check:
        print(f"{check()} jobs compose.")
    else:
        given.output.write_text(report(given.runs), encoding="utf-8")


if __name__ == "__main__":
    main()
