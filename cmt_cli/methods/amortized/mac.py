"""MAC, memory of amortized contexts (Tack et al. 2024, arXiv 2403.04317): one encoder pass per document, no retrieval.

Loss: the answer's mean negative log-likelihood behind the aggregate of all documents in the batch (eq. of section 3.2);
the bank at test time is every document so far, joined by cross-attention from the question's states.
Deliberate deviations from the released code: memories do not depend on padding (the mask is passed on); the bank is
de-duplicated; keys and values of the bank are projected once per document and cached; `hierarchy_window` groups cover
the whole bank (the released loop runs over the question's length); the loss is averaged over answer tokens; backprop
dropout is not needed, since a batch that does not fit is recomputed in chunks with the full gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Predictor, Row
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt
from cmt_cli.memory.document_bank import DocumentBank
from cmt_cli.methods.amortized.amortized_method import BankedMethod, BankSettings
from cmt_cli.methods.amortized.amortized_predictor import AmortizedPredictor, Documents
from cmt_cli.methods.amortized.amortizer import Amortizer, AmortizerSettings, Item
from cmt_cli.methods.amortized.encoded_batch import EncodedBatch, answer_nll
from cmt_cli.methods.amortized.episodic_objective import EpisodicObjective


class Mac(BankedMethod):
    """Amortized contexts, aggregated over the whole bank."""

    def __init__(
        self,
        *,
        parts: AmortizerSettings,
        hierarchy_window: int | None,
        bank: BankSettings,
        encode_batch_size: int,
        seed: int,
    ) -> None:
        """`hierarchy_window` joins groups of that many documents, then the groups, until one is left; None: at once."""
        super().__init__(parts=parts, bank=bank, encode_batch_size=encode_batch_size, seed=seed)
        self.hierarchy_window = hierarchy_window

    @override
    def cache_width(self) -> int:
        """Keep the aggregator's keys and values of every document."""
        return self.parts.aggregator.cache_width * self.amortizer.num_slots

    @override
    def objective(self, learner: Learner, items: Sequence[Item]) -> MacObjective:
        return MacObjective(learner, self.amortizer, items, self.seed)

    @override
    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        return AmortizedPredictor(learner, self.amortizer, BankRecall(self.amortizer, self.bank, self.hierarchy_window))


class BankRecall:
    """Aggregate every stored memory for each question; the projected bank is read once. No document is named."""

    def __init__(self, amortizer: Amortizer, bank: DocumentBank, window: int | None) -> None:
        self.amortizer, self.window = amortizer, window
        self.cached = bank.cached(bank.rows()).unflatten(1, (amortizer.num_slots, -1))[None]

    def __call__(self, states: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor | None, list[Documents]]:
        """Return memories `[batch, slots, width]`, or None where nothing is stored."""
        if self.cached.shape[1] == 0:
            return None, [()] * len(prompts)
        return aggregate(self.amortizer, self.cached, states, self.window), [()] * len(prompts)


class MacObjective(EpisodicObjective):
    """The answer loss behind the aggregate of the batch's documents."""

    @override
    def terms(self, batch: EncodedBatch, micro_batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        cached = self.amortizer.aggregator.project(batch.memories)
        memory = self.amortizer.aggregator(batch.states, cached[None])
        nll = self.in_chunks(self._answer_nll, micro_batch_size, memory, batch.rows)
        return {"qa": nll.sum() / batch.num_target_tokens}

    def _answer_nll(self, memory: Tensor, rows: Sequence[Row]) -> Tensor:
        return answer_nll(self.learner, self.amortizer, memory, rows)


def aggregate(amortizer: Amortizer, cached: Tensor, states: Tensor, window: int | None) -> Tensor:
    """Return the aggregate `[batch, slots, width]` of memories for question states of that shape.

    `cached` `[1, docs, slots, cache_width]` are the memories' projected keys and values. With a `window` the documents
    are joined in groups of that size and the results again, so that attention never spans more than `window` memories;
    every document takes part.
    """
    if window is None or cached.shape[1] <= window:
        return amortizer.aggregator(states, cached)
    groups = [amortizer.aggregator(states, part) for part in cached.split(window, dim=1)]
    while len(groups) > 1:
        joined = torch.stack(groups, dim=1)  # [batch, groups, slots, width]
        parts = [amortizer.aggregator.project(part) for part in joined.split(window, dim=1)]
        groups = [amortizer.aggregator(states, part) for part in parts]
    return groups[0]
