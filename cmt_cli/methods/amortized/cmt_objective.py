"""What CMT's meta-training minimizes: the answer loss and the terms of its three techniques; see `cmt.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.batch import Row
from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import ParamGroup, State
from cmt_cli.layers.aggregation import slot_mixture
from cmt_cli.methods.amortized.amortizer import Amortizer, Item
from cmt_cli.methods.amortized.encoded_batch import EncodedBatch, answer_nll
from cmt_cli.methods.amortized.episodic_objective import EpisodicObjective


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
    num_past_keys: int
    past_keys_from: float  # share of the steps
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


def aggregate_top_k(
    amortizer: Amortizer, matching: Matching, states: Tensor, memories: Tensor, logits: Tensor
) -> Tensor:
    """Return `[batch, slots, width]`: the mixture under the prior, refined by cross-attention to the k memories."""
    log_prior = matching.log_prior(logits)
    mixed = slot_mixture(memories, log_prior)
    return amortizer.aggregator(mixed, amortizer.aggregator.project(memories), log_prior)


def inner_products(queries: Tensor, keys: Tensor) -> Tensor:
    """Return `[batch, docs]` of queries `[batch, key]` and keys `[docs, key]`, in float32 under autocast, too."""
    with torch.autocast(queries.device.type, enabled=False):
        return queries @ keys.T


class CmtObjective(EpisodicObjective):
    """L_qa + L_rec + L_own + L_mrg + L_sm, each term weighted; see `cmt.py`."""

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
        self.past = PastKeys(techniques.num_past_keys)

    @override
    def param_groups(self) -> Sequence[ParamGroup]:
        return [*super().param_groups(), ParamGroup(list(self.matching.parameters()))]

    @override
    def terms(self, batch: EncodedBatch, micro_batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        techniques = self.techniques
        queries, keys = self.amortizer.queries(batch.states), self.amortizer.keys(batch.memories)
        logits = self.matching.logits(inner_products(queries, keys))
        if techniques.top_k_aggregation:
            chosen = self._choose(logits, batch.gold, generator)
            memory = aggregate_top_k(
                self.amortizer, self.matching, batch.states, batch.memories[chosen], logits.gather(1, chosen)
            )
        else:
            memory = self.amortizer.aggregator(batch.states, self.amortizer.aggregator.project(batch.memories)[None])
        nll = self.in_chunks(self._answer_nll, micro_batch_size, memory, batch.rows)
        terms = {"qa": nll.sum() / batch.num_target_tokens}
        if techniques.self_matching:
            cosines, is_own = self.past.cosines(queries, [batch.document_ids[i] for i in batch.gold.tolist()])
            past = self.matching.logits(cosines).masked_fill(is_own, -torch.inf)
            terms["self_matching"] = techniques.matching_weight * matching_loss(logits, batch.gold, past)
            self.past.hold(keys, batch.document_ids)
        if techniques.memory_aware_objective:
            terms |= self._memory_aware(batch, micro_batch_size, generator)
        return terms

    @override
    def after_step(self, step: int, num_steps: int) -> None:
        """Add the batch's keys to the negatives of the next."""
        if step + 1 >= self.techniques.past_keys_from * num_steps:
            self.past.add_held()

    @override
    def state_dict(self) -> State:
        """Return the keys of earlier batches."""
        return self.past.state_dict()

    @override
    def load_state_dict(self, state: State) -> None:
        self.past.load_state_dict(state)

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
            nll = self.in_chunks(self._answer_nll, micro_batch_size, batch.memories, spans)
            num_tokens = sum(len(row.input_ids) for row in spans)
            terms["reconstruction"] = techniques.reconstruction_weight * nll.sum() / num_tokens
        if len(batch.memories) > 1 and max(techniques.own_memory_weight, techniques.margin_weight) > 0:
            own = self.in_chunks(self._answer_nll, micro_batch_size, batch.memories[batch.gold], batch.rows)
            terms["own_memory"] = techniques.own_memory_weight * own.sum() / batch.num_target_tokens
            if techniques.margin_weight > 0:
                shift = torch.randint(1, len(batch.memories), (1,), generator=generator).item()
                other = batch.memories[(batch.gold + shift) % len(batch.memories)]
                wrong = self.in_chunks(self._answer_nll, micro_batch_size, other, batch.rows)
                terms["margin"] = techniques.margin_weight * self._margin(own, wrong, batch.rows)
        return terms

    def _margin(self, own: Tensor, wrong: Tensor, rows: Sequence[Row]) -> Tensor:
        lengths = torch.tensor([len(row.input_ids) - row.num_prompt_tokens for row in rows], device=own.device)
        return F.softplus(self.techniques.margin_nats - (wrong - own) / lengths).mean()

    def _span(self, ids: Sequence[int], generator: torch.Generator) -> Row:
        """Return a random span of a document as a row in which every token is a target."""
        length = min(self.techniques.reconstruction_tokens, len(ids))
        start = int(torch.randint(0, len(ids) - length + 1, (1,), generator=generator))
        return Row("span", tuple(ids[start : start + length]), 0)


class PastKeys:
    """The newest keys of earlier batches, without gradient, and whose they are."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.keys: Tensor | None = None
        self.document_ids: list[str] = []
        self._held: tuple[Tensor, list[str]] | None = None

    def cosines(self, queries: Tensor, document_ids: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the cosines `[batch, keys]` of queries `[batch, key]`, and where a key is of `document_ids[b]`."""
        if self.keys is not None:
            self.keys = self.keys.to(queries.device)  # a restored state comes on the CPU
        keys = queries.new_empty(0, queries.shape[1]) if self.keys is None else self.keys
        is_own = [[past == one for past in self.document_ids] for one in document_ids]
        return inner_products(queries, keys), torch.tensor(is_own, dtype=torch.bool, device=queries.device)

    def hold(self, keys: Tensor, document_ids: Sequence[str]) -> None:
        """Note keys `[docs, key]` that `add_held` adds; a batch that is repeated notes them again."""
        self._held = keys.detach(), list(document_ids)

    def add_held(self) -> None:
        """Add what was noted and drop the oldest beyond the limit."""
        if self._held is None or self.limit == 0:
            return
        keys, document_ids = self._held
        joined = keys if self.keys is None else torch.cat([self.keys, keys])
        self.keys = joined[-self.limit :]
        self.document_ids = [*self.document_ids, *document_ids][-self.limit :]
        self._held = None

    def state_dict(self) -> State:
        """Return the keys and their documents; nothing before the first step."""
        return {} if self.keys is None else {"past_keys": self.keys, "past_document_ids": self.document_ids}

    def load_state_dict(self, state: State) -> None:
        """Restore them."""
        self.keys, self.document_ids = state.get("past_keys"), list(state.get("past_document_ids", []))


def matching_loss(logits: Tensor, gold: Tensor, negatives: Tensor) -> Tensor:
    """Return the symmetric InfoNCE in nats, mean per question and per document.

    `logits` `[batch, docs]`, `gold` `[batch]`, `negatives` `[batch, any]` are the scores of further wrong documents.
    Question to document has one positive; document to question has all the questions of that document as positives:
    -log of their total share.
    """
    to_document = F.cross_entropy(torch.cat([logits, negatives], dim=1).float(), gold)
    owns = F.one_hot(gold, logits.shape[1]).bool().T
    shares = logits.float().T.log_softmax(dim=-1).masked_fill(~owns, -torch.inf)
    return (to_document - shares.logsumexp(dim=-1).mean()) / 2
