"""Choose the learning rate of the methods that adapt by gradients, on the validation split.

    python experiments/qa_learning_rates.py                # run what is missing, then write the table
    python experiments/qa_learning_rates.py --table-only   # from the run folders alone

The generated stream with its validation documents in place of the test documents, one seed, the budget as in the yaml
but for the rate. The rate with the best exact match after the last batch is the one that conf/method/ holds.
The table goes to experiments/results/qa_learning_rates.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from qa_methods import FIXED as OF_METHODS
from tables import ROOT, finished, last_row, publish, run

from cmt_cli.core.result import RunResult

RATES = ("1.0e-5", "1.0e-4", "3.0e-4", "1.0e-3", "3.0e-3")
TRAINER = "trainer.task.learning_rate"
RATES_OF = dict.fromkeys(("uniform", "salient_spans", "camels"), "method.budget.learning_rate")
METHODS = (*RATES_OF, "joint")
FIXED = (
    *OF_METHODS,
    "data.selection.stream_split=validation",
    "data.generated.num_validation_documents=500",
    "evaluator.rows=last",
)


def table(rows: Mapping[str, Mapping[str, RunResult]]) -> str:
    """Return exact match and token F1 after the last batch, a row per method and a column per rate."""
    lines = ["| method | " + " | ".join(RATES) + " |", "|---|" + "---|" * len(RATES)]
    for method, results in rows.items():
        scores = {rate: last_row(result, "em") or 0.0 for rate, result in results.items()}
        best = max(scores, key=lambda rate: scores[rate], default=None)
        cells = []
        for rate in RATES:
            text = "-"
            if rate in results:
                text = f"{scores[rate]:.3f} ({last_row(results[rate], 'f1') or 0.0:.3f})"
            cells.append(f"**{text}**" if rate == best else text)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "Exact match (token F1) on the validation stream by learning rate; generated data\n\n" + "\n".join(lines)


def main() -> None:
    """Run the grid and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "qa_learning_rates")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    rows: dict[str, dict[str, RunResult]] = {}
    for method in METHODS:
        for rate in RATES:
            folder = arguments.runs / method / rate
            if method in arguments.methods and not arguments.table_only:
                print(f"== {method}, {rate}", flush=True)
                run(folder, [f"method={method}", f"{RATES_OF.get(method, TRAINER)}={rate}", *FIXED], seed=0)
            for results in finished(folder.parent).get(rate, []):
                rows.setdefault(method, {})[rate] = results
    text = table(rows)
    publish("qa_learning_rates", text)
    print(text)


if __name__ == "__main__":
    main()
