"""CMT, Compression Memory Training (Li et al. 2024, arXiv 2412.07393): compress, store, retrieve, aggregate.

A frozen language model; each new document becomes a few vectors in a bank; a question retrieves by self-matching, the
top k memories are aggregated into one, and the model answers behind it. The paper's equations are not public where this
was written: the three techniques below are our reading, each a switch.

- `memory_aware_objective` (encoding): besides the answer loss L_qa, the memory of the document alone must let the
  frozen model write a span of the document (L_rec: mean nats per token), answer (L_own: mean nats per answer token),
  and answer better than another document's memory (L_mrg: softplus(gamma - (log p(y | own) - log p(y | other)) / |y|)).
- `self_matching` (retrieval): keys and queries are projections, slot by slot, of the compressor's own states; symmetric
  InfoNCE over the batch, all questions of a document being positives: L_sm with temperature tau (learned). The keys of
  earlier batches are further negatives (cross-batch memory, arXiv 1912.06798): documents alike rarely share a batch.
- `top_k_aggregation`: only the k best memories are joined. pi = softmax over them of the match scores; the result
  starts from the slot-wise mixture of the memories under pi^lambda, and lambda * log pi is added to the aggregator's
  attention logits, so the answer loss also trains the retrieval. In training the gold document is forced into the k
  with probability `gold_probability` and the scores carry Gumbel noise.

With all three off, every stored memory goes through plain cross-attention from the question's states: MAC.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt
from cmt_cli.methods.amortized.amortized_method import BankedMethod, BankSettings
from cmt_cli.methods.amortized.amortized_predictor import AmortizedPredictor, Documents
from cmt_cli.methods.amortized.amortizer import AmortizerSettings, Item
from cmt_cli.methods.amortized.cmt_objective import CmtObjective, Matching, Techniques, aggregate_top_k
from cmt_cli.methods.amortized.mac import BankRecall


class Cmt(BankedMethod):
    """Compression memory training over a frozen model."""

    def __init__(
        self,
        *,
        parts: AmortizerSettings,
        techniques: Techniques,
        bank: BankSettings,
        encode_batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(parts=parts, bank=bank, encode_batch_size=encode_batch_size, seed=seed)
        self.techniques = techniques

    @override
    def build_extra(self, learner: Learner) -> None:
        self.matching = Matching(self.techniques).to(learner.device)

    @override
    def trained_modules(self) -> dict[str, nn.Module]:
        return {**super().trained_modules(), "matching": self.matching}

    @override
    def cache_width(self) -> int:
        """Keep projected keys and values only where every question reads the whole bank."""
        per_slot = self.parts.aggregator.cache_width
        return 0 if self.techniques.top_k_aggregation else per_slot * self.amortizer.num_slots

    @override
    def objective(self, learner: Learner, items: Sequence[Item]) -> CmtObjective:
        return CmtObjective(learner, self.amortizer, items, self.seed, self.techniques, self.matching)

    @override
    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        """Return a predictor that recalls the top k memories, or aggregates the whole bank."""
        if self.techniques.top_k_aggregation:
            return AmortizedPredictor(learner, self.amortizer, self.recall_top_k)
        return AmortizedPredictor(learner, self.amortizer, BankRecall(self.amortizer, self.bank, window=None))

    def recall_top_k(self, states: Tensor, prompts: Sequence[Prompt]) -> tuple[Tensor | None, list[Documents]]:
        """Search the bank, aggregate the k best memories and name their documents with their share of the prior."""
        if len(self.bank) == 0:
            return None, [()] * len(prompts)
        cosines, rows = self.bank.search(self.amortizer.queries(states), self.techniques.top_k)
        memory, share = self.aggregate(states, self.bank.memories(rows), self.matching.logits(cosines))
        return memory, [self.named(r, w) for r, w in zip(rows.tolist(), share.tolist(), strict=True)]

    def aggregate(self, states: Tensor, memories: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Join memories `[batch, k, slots, width]` under match scores `[batch, k]`; return them and pi."""
        return aggregate_top_k(self.amortizer, self.matching, states, memories, logits), logits.softmax(dim=-1)

    def named(self, rows: Sequence[int], weights: Sequence[float]) -> Documents:
        """Return documents, best first; the segments of one document are summed."""
        found: dict[str, float] = {}
        for row, weight in zip(rows, weights, strict=True):
            if row >= 0:
                name = self.bank.document_id(row)
                found[name] = found.get(name, 0.0) + weight
        return tuple(sorted(found.items(), key=lambda pair: -pair[1]))
