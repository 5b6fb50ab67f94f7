"""CMT, Compression Memory Training (Li et al. 2024, arXiv 2412.07393): compress, store, retrieve, aggregate.

A frozen language model; each new document becomes a few vectors in a bank; a question retrieves by self-matching, the
top k memories are aggregated into one, and the model answers behind it. The paper's equations are not public where this
was written: the three techniques below are our reading, each a switch.

- `memory_aware_objective` (encoding): besides the answer loss L_qa, the memory of the document alone must let the
  frozen model write a span of the document (L_rec: mean nats per token), answer (L_own: mean nats per answer token),
  and answer better than another document's memory (L_mrg: softplus(gamma - (log p(y | own) - log p(y | other)) / |y|)).
- `self_matching` (retrieval): keys and queries are projections of the compressor's own states; symmetric InfoNCE over
  the batch, all questions of a document being positives: L_sm with temperature tau (learned).
- `top_k_aggregation`: only the k best memories are joined. pi = softmax over them of the match scores; the result
  starts from the slot-wise mixture of the memories under pi^lambda, and lambda * log pi is added to the aggregator's
  attention logits, so the answer loss also trains the retrieval. In training the gold document is forced into the k
  with probability `gold_probability` and the scores carry Gumbel noise.

With all three off, every stored memory goes through plain cross-attention from the question's states: MAC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmt_cli.core.learner import Learner, Predictor, Row
from cmt_cli.core.objectives import ParamGroup
from cmt_cli.core.stream import Prompt
from cmt_cli.layers.aggregation import slot_mixture
from cmt_cli.methods.amortization import (
    AmortizedPredictor,
    Amortizer,
    AmortizerSettings,
    Documents,
    EncodedBatch,
    Item,
    answer_nll,
    in_chunks,
)
from cmt_cli.methods.amortized import BankedMethod, BankSettings, EpisodicObjective
from cmt_cli.methods.mac import BankRecall


@dataclass(frozen=True, kw_only=True, slots=True)
class Techniques:
    """The three switches and their weights."""

    memory_aware_objective: bool
    reconstruction_weight: float
    reconstruction_tokens: int
    own_memory_weight: float
    margin_weight: float
    margin_nats: float  # gamma, per answer token
    self_matching: bool
    matching_weight: float
    temperature: float  # tau at the start
    top_k_aggregation: bool
    top_k: int
    prior_strength: float  # lambda at the start
    gold_probability: float
    gumbel_scale: float


class Matching(nn.Module):
    """The learned temperature of the match scores and the learned strength of the prior; both stay positive."""

    def __init__(self, techniques: Techniques) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(techniques.temperature).log())
        self.log_strength = nn.Parameter(torch.tensor(techniques.prior_strength).log())

    def logits(self, cosines: Tensor) -> Tensor:
        """Return match scores of cosines; the temperature is kept within [0.01, 0.2]."""
        return cosines / self.log_temperature.exp().clamp(0.01, 0.2)

    def log_prior(self, logits: Tensor) -> Tensor:
        """Return lambda * log pi over the last axis; -inf scores stay -inf."""
        return self.log_strength.exp() * logits.float().log_softmax(dim=-1)


class Cmt(BankedMethod):
    """Compression memory training over a frozen model."""

    paper = "arXiv 2412.07393"

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

    def build_extra(self, learner: Learner) -> None:
        """Build the temperature and the prior's strength."""
        self.matching = Matching(self.techniques).to(learner.device)

    def trained_modules(self) -> dict[str, nn.Module]:
        """Return the amortizer and the matching scalars."""
        return {**super().trained_modules(), "matching": self.matching}

    def cache_width(self) -> int:
        """Keep projected keys and values only where every question reads the whole bank."""
        per_slot = self.parts.aggregator.cache_width
        return 0 if self.techniques.top_k_aggregation else per_slot * self.amortizer.num_slots

    def objective(self, learner: Learner, items: Sequence[Item]) -> CmtObjective:
        """Return L_qa plus the techniques' terms."""
        return CmtObjective(learner, self.amortizer, items, self.seed, self.techniques, self.matching)

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


def aggregate_top_k(
    amortizer: Amortizer, matching: Matching, states: Tensor, memories: Tensor, logits: Tensor
) -> Tensor:
    """Return `[batch, slots, width]`: the mixture under the prior, refined by cross-attention to the k memories."""
    log_prior = matching.log_prior(logits)
    mixed = slot_mixture(memories, log_prior)
    return amortizer.aggregator(mixed, amortizer.aggregator.project(memories), log_prior)


class CmtObjective(EpisodicObjective):
    """L_qa + L_rec + L_mrg + L_sm, each term weighted; see the module's docstring."""

    def __init__(
        self,
        learner: Learner,
        amortizer: Amortizer,
        items: Sequence[Item],
        seed: int,
        techniques: Techniques,
        matching: Matching,
    ) -> None:
        super().__init__(learner, amortizer, items, seed)
        self.techniques, self.matching = techniques, matching

    def param_groups(self) -> Sequence[ParamGroup]:
        """Return the amortizer's parameters and the matching scalars."""
        return [*super().param_groups(), ParamGroup(list(self.matching.parameters()))]

    def terms(self, batch: EncodedBatch, micro_batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the weighted terms of one batch."""
        techniques = self.techniques
        logits = self.matching.logits(self.amortizer.queries(batch.states) @ self.amortizer.keys(batch.memories).T)
        if techniques.top_k_aggregation:
            chosen = self._choose(logits, batch.gold, generator)
            memory = aggregate_top_k(
                self.amortizer, self.matching, batch.states, batch.memories[chosen], logits.gather(1, chosen)
            )
        else:
            memory = self.amortizer.aggregator(batch.states, self.amortizer.aggregator.project(batch.memories)[None])
        nll = in_chunks(self._answer_nll, micro_batch_size, memory, batch.rows)
        terms = {"qa": nll.sum() / batch.num_target_tokens}
        if techniques.self_matching:
            terms["self_matching"] = techniques.matching_weight * matching_loss(logits, batch.gold)
        if techniques.memory_aware_objective:
            terms |= self._memory_aware(batch, micro_batch_size, generator)
        return terms

    def _answer_nll(self, memory: Tensor, rows: Sequence[Row]) -> Tensor:
        return answer_nll(self.learner, self.amortizer, memory, rows)

    def _choose(self, logits: Tensor, gold: Tensor, generator: torch.Generator) -> Tensor:
        """Return the documents to aggregate `[batch, k]`: noisy top k, the gold one forced in with its probability."""
        k = min(self.techniques.top_k, logits.shape[1])
        uniform = torch.rand(logits.shape, generator=generator).clamp(1e-9, 1 - 1e-7).to(logits.device)
        scores = logits.detach().float() - self.techniques.gumbel_scale * (-uniform.log()).log()
        forced = torch.rand(len(gold), generator=generator).to(logits.device) < self.techniques.gold_probability
        is_gold = F.one_hot(gold, logits.shape[1]).bool() & forced[:, None]
        return scores.masked_fill(is_gold, torch.inf).topk(k, dim=1).indices

    def _memory_aware(
        self, batch: EncodedBatch, micro_batch_size: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        techniques, terms = self.techniques, {}
        if techniques.reconstruction_weight > 0:
            spans = [self._span(ids, generator) for ids in batch.documents]
            nll = in_chunks(self._answer_nll, micro_batch_size, batch.memories, spans)
            num_tokens = sum(len(row.input_ids) for row in spans)
            terms["reconstruction"] = techniques.reconstruction_weight * nll.sum() / num_tokens
        if max(techniques.own_memory_weight, techniques.margin_weight) > 0 and len(batch.memories) > 1:
            shift = torch.randint(1, len(batch.memories), (1,), generator=generator).item()
            other = (batch.gold + shift) % len(batch.memories)
            both = torch.cat([batch.memories[batch.gold], batch.memories[other]])
            own, wrong = in_chunks(self._answer_nll, micro_batch_size, both, batch.rows * 2).chunk(2)
            lengths = torch.tensor([len(r.input_ids) - r.num_prompt_tokens for r in batch.rows], device=own.device)
            terms["own_memory"] = techniques.own_memory_weight * own.sum() / batch.num_target_tokens
            gap = techniques.margin_nats - (wrong - own) / lengths
            terms["margin"] = techniques.margin_weight * F.softplus(gap).mean()
        return terms

    def _span(self, ids: Sequence[int], generator: torch.Generator) -> Row:
        """Return a random span of a document as a row in which every token is a target."""
        length = min(self.techniques.reconstruction_tokens, len(ids))
        start = int(torch.randint(0, len(ids) - length + 1, (1,), generator=generator))
        return Row("span", tuple(ids[start : start + length]), 0)


def matching_loss(logits: Tensor, gold: Tensor) -> Tensor:
    """Return the symmetric InfoNCE in nats, mean per question and per document.

    `logits` `[batch, docs]`, `gold` `[batch]`. Question to document has one positive; document to question has all the
    questions of that document as positives: -log of their total share.
    """
    to_document = F.cross_entropy(logits.float(), gold)
    owns = F.one_hot(gold, logits.shape[1]).bool().T
    shares = logits.float().T.log_softmax(dim=-1).masked_fill(~owns, -torch.inf)
    return (to_document - shares.logsumexp(dim=-1).mean()) / 2
