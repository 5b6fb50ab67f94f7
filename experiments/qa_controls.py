"""Ask finished `cmt` runs with other banks: what the memories contribute, and what a smaller bank costs.

    python experiments/qa_controls.py runs/qa_methods/methods/cmt

For every run below the folders given, its weights as they ended and the questions of all batches:
- stored: the bank as the run used it; empty: no memory at all; wrong: the document that answers is left out;
  gold only: nothing but the document that answers, which bounds retrieval;
- int8, product-quantized, approximate search: the same documents stored or found so; bytes are those of memory and key.
The table goes to experiments/results/qa_controls.md and between the markers of docs/results.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from finished import FinishedRun, mean
from tables import ROOT, publish, shown
from torch import Tensor

from cmt_cli.analysis.find_runs import find_runs
from cmt_cli.core.stream import Prompt
from cmt_cli.methods.amortized.amortized_predictor import AmortizedPredictor, Documents, Recall
from cmt_cli.methods.amortized.cmt import Cmt

Scores = tuple[float | None, float | None, float | None]  # exact match, recall@1, bytes per document
BANKS: dict[str, dict[str, Any]] = {
    "stored": {},
    "int8": {"dtype": "int8"},
    "product-quantized": {"dtype": "pq", "pq_bytes_per_token": 24, "pq_bytes_per_key": 32},
    "approximate search": {"num_probes": 8},
}


class Control(FinishedRun):
    """A finished cmt run, evaluated with one bank after another."""

    method: Cmt

    def scores(self) -> dict[str, Scores]:
        """Return what each bank scores."""
        found: dict[str, Scores] = {}
        for name, changes in BANKS.items():
            bank = self.fill(self.stream, changes)
            size = bank.storage_bytes()
            found[name] = (*self.evaluated(self.method.recall_top_k), (size.memory + size.key) / bank.num_documents)
        bank = self.fill(self.stream, {})
        found["wrong"] = (*self.evaluated(self.recall_wrong), None)
        found["gold only"] = (*self.evaluated(self.recall_gold), None)
        bank.clear()
        found["empty"] = (*self.evaluated(self.method.recall_top_k), None)
        return found

    def evaluated(self, recall: Recall) -> tuple[float | None, float | None]:
        """Return exact match and recall@1 over the questions of all batches."""
        tests = self.ask(AmortizedPredictor(self.learner, self.method.amortizer, recall), self.stream)
        return mean(tests, "em"), mean(tests, "recall_at_1")

    def recall_gold(self, states: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor | None, list[Documents]]:
        """Aggregate nothing but the memory of the document that answers."""
        gold = [self.method.bank.rows_of(prompt.document_ids[0]) for prompt in prompts]
        most = max(len(rows) for rows in gold)
        rows = torch.tensor([[*found, *[found[0]] * (most - len(found))] for found in gold])
        absent = torch.tensor([[False] * len(found) + [True] * (most - len(found)) for found in gold])
        cosines = (self.method.amortizer.queries(states)[:, None] * self.method.bank.keys(rows)).sum(dim=-1)
        return self._aggregated(states, cosines.masked_fill(absent, -torch.inf), rows)

    def recall_wrong(self, states: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor | None, list[Documents]]:
        """Search as always, without the document that answers."""
        method = self.method
        gold = [method.bank.rows_of(prompt.document_ids[0]) for prompt in prompts]
        spare = max(len(rows) for rows in gold)
        cosines, rows = method.bank.search(method.amortizer.queries(states), method.techniques.top_k + spare)
        is_gold = torch.tensor([[row in own for row in found] for found, own in zip(rows.tolist(), gold, strict=True)])
        cosines, order = cosines.masked_fill(is_gold, -torch.inf).topk(method.techniques.top_k, dim=1)
        return self._aggregated(states, cosines, rows.gather(1, order))

    def _aggregated(self, states: Tensor, cosines: Tensor, rows: Tensor) -> tuple[Tensor, list[Documents]]:
        method = self.method
        memory, share = method.aggregate(states, method.bank.memories(rows), method.matching.logits(cosines))
        return memory, [method.named(r, w) for r, w in zip(rows.tolist(), share.tolist(), strict=True)]


def table(scores: Mapping[str, Sequence[Scores]]) -> str:
    """Return the markdown table of the banks' scores, one entry per run."""
    lines = ["| bank | runs | exact match | recall@1 | bytes per document |", "|---|---|---|---|---|"]
    for name, found in scores.items():
        em, recall, size = ([run[i] for run in found] for i in range(3))
        cells = [name, str(len(found)), shown(em, "{:.3f}"), shown(recall, "{:.3f}"), shown(size, "{:,.0f}")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Ask every run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="*", default=[ROOT / "runs" / "qa_methods" / "methods" / "cmt"])
    folders = [found.folder for path in parser.parse_args().runs for found in find_runs(path)]
    scores: dict[str, list[Scores]] = {}
    for folder in folders:
        for name, found in Control(folder).scores().items():
            print(folder.name, name, found, flush=True)
            scores.setdefault(name, []).append(found)
    text = table(scores)
    publish("qa_controls", text)
    print(text)


if __name__ == "__main__":
    main()
