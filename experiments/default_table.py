"""Run every method at its defaults on one stream, to see what a user gets who sets nothing.

    python experiments/default_table.py                 # run what is missing, then write the table
    python experiments/default_table.py --rows ewc l2   # only these methods' runs
    python experiments/default_table.py --table-only    # from the run folders alone

`cmt run method=NAME data=world_skills`, and nothing else is given; rates and weights in conf/ were chosen on the
validation split. Each cell is one `cmt run` whose folder is kept. The table goes to experiments/results/ and between
the markers of docs/results.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from tables import ROOT, average, finished, publish, run, shown

from cmt_cli.config import catalog
from cmt_cli.core.result import RunResult

STREAM = "world_skills"
FLOOR = "frozen"
METRICS = ("aa", "fgt", "fwd_zero_shot")
HEAD = ("method", "family", "seeds", "AA", "FGT", "FWD", "trained")


def methods() -> list[catalog.Option]:
    """Return the methods that can run on the stream, by family and name."""
    dirs = [catalog.conf_dir()]
    stream = catalog.find("data", STREAM, dirs)
    fitting = [m for m in catalog.options("method", dirs) if catalog.incompatibility(m, stream) is None]
    return sorted(fitting, key=lambda method: (method.facts["family"], method.name))


def table(rows: Mapping[str, Sequence[RunResult]]) -> str:
    """Return the scores as markdown, a row per method."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for method in methods():
        if results := rows.get(method.name):
            cells = [
                method.name,
                method.facts["family"],
                str(len(results)),
                *(shown([result.metrics[metric].value for result in results], "{:.3f}") for metric in METRICS),
                f"{results[0].cost.trainable_parameters:,}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(rows: Mapping[str, Sequence[RunResult]]) -> str:
    """Return the table, its heading and which trained methods are no better than the floor."""
    source = ", ".join(sorted({str(result.data["source"]) for results in rows.values() for result in results}))
    text = f"**Every method at its defaults** ({source} data, `data={STREAM}`, `model=tiny`)\n\n{table(rows)}"
    if FLOOR not in rows:
        return text
    limit, _ = average(rows[FLOOR])
    trained = {name: results for name, results in rows.items() if results[0].cost.trainable_parameters}
    weak = sorted(name for name, results in trained.items() if average(results)[0] <= limit)
    return f"{text}\n\nTrained and not above `{FLOOR}`: {', '.join(weak) or 'none'}."


def main() -> None:
    """Run the methods and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "default_table")
    parser.add_argument("--rows", nargs="+", default=[method.name for method in methods()], metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    for seed in () if arguments.table_only else arguments.seeds:
        for name in arguments.rows:
            if not any(result.seed == seed for result in finished(arguments.runs).get(name, [])):
                print(f"== {name}, seed {seed}", flush=True)
                run(arguments.runs / name, [f"method={name}", f"data={STREAM}"], seed)
    publish("default_table", report(finished(arguments.runs)))


if __name__ == "__main__":
    main()
