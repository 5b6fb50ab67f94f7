"""Compare six methods on real files with a real model, SmolLM2-135M; settings are chosen on validation.

    cmt model prepare smollm2_135m; cmt data prepare banking77; cmt data prepare sentiment_domains
    python experiments/real_table.py                             # run what is missing, then write the tables
    python experiments/real_table.py --data DIR --seeds 0        # where the streams' folders are; these seeds
    python experiments/real_table.py --table-only                # from the run folders alone

Two settings of each method are run once on the validation split, and the one with the better average accuracy (AA) is
run on the test split with every seed. The table goes to experiments/results/real_table.md and between the markers of
docs/results.md; it says how many seeds there are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from method_table import folder_of
from real_settings import ROWS, SCENARIOS, Scenario
from scenario_table import ON_VALIDATION, SWEEP_SEED, best_setting, run
from tables import ROOT, finished, publish, shown

from cmt_cli.core.result import RunResult

COLUMNS = ("method", "seeds", "AA", "AIA", "FGT", "BWT", "minutes", "AA on validation by setting")


def run_row(folder: Path, scenario: Scenario, name: str, given: Sequence[str], seeds: Sequence[int]) -> None:
    """Run a row's settings on validation, then the best of them on test."""
    row, shared = scenario.rows[name], [*scenario.shared, *given]
    if len(row.settings) > 1:
        for setting in row.settings:
            place = folder_of(folder / "sweep", name, setting)
            run(place, [*shared, *row.as_overrides(setting), *ON_VALIDATION], [SWEEP_SEED])
    chosen, _ = best_setting(folder / "sweep", name, row)
    run(folder_of(folder / "test", name, chosen), [*shared, *row.as_overrides(chosen)], seeds)


def line(runs: Path, name: str) -> str | None:
    """Return the row of a method in a table, None where it has no complete run."""
    row = ROWS[name]
    best, scores = best_setting(runs / "sweep", name, row)
    place = folder_of(runs / "test", name, best)
    results: list[RunResult] = finished(place.parent).get(place.name, [])
    if not results:
        return None
    cells = [shown([r.metrics[metric].value for r in results], "{:.3f}") for metric in ("aa", "aia", "fgt", "bwt")]
    seconds = [r.cost.train_seconds + r.cost.eval_seconds for r in results]
    tried = "; ".join(f"{key} {value:.3f}" for key, value in scores.items()) or "nothing to choose"
    return f"| {name} | {len(results)} | {' | '.join(cells)} | {shown([s / 60 for s in seconds], '{:.1f}')} | {tried} |"


def report(runs: Path) -> str:
    """Return a table for each scenario."""
    parts = []
    for name, scenario in SCENARIOS.items():
        lines = [found for method in ROWS if (found := line(runs / name, method))]
        if lines:
            head = (
                "| method | seeds | AA | AIA | FGT | BWT | minutes | AA on validation by setting |\n" + "|---" * 8 + "|"
            )
            parts.append(f"**{scenario.title}** (real data; {scenario.changes})\n\n{head}\n" + "\n".join(lines))
    return "\n\n".join(parts)


def main() -> None:
    """Run the grid and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "real_table")
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--methods", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    given = [] if arguments.data is None else [f"paths.data={arguments.data.resolve()}"]
    if not arguments.table_only:
        for name in arguments.scenarios:
            for method in arguments.methods:
                run_row(arguments.runs / name, SCENARIOS[name], method, given, arguments.seeds)
    publish("real_table", report(arguments.runs))


if __name__ == "__main__":
    main()
