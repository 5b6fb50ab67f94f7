"""Diverse beam search with a key/value cache (Vijayakumar et al. 2018, arXiv 1610.02424); one group is beam search.

The beams of a prompt are split into groups that are extended one after the other. Group g maximizes

    score_g(y_1..t) = score_g(y_1..t-1) + log p(y_t | y_1..t-1) - penalty * counts_g(y_t)

where counts_g is how often the groups before g chose a token at this step (Hamming diversity). A hypothesis ends with
the end token or at the last step and is ranked by score / length, end token included; a group stops once it holds as
many ended hypotheses as it has beams ("early stopping", length penalty 1), and the answer is the best hypothesis of all
groups. These are the conventions of `transformers.generate` up to version 4.

Deviations from that code: the beams of one prompt are adjacent rows (the papers' released code tiles prompts over
beams, which is right for one prompt at a time only); a finished group adds no padding token to the counts of later
groups; ended and running candidates are ranked together at the last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cmt_cli.core import key_values
from cmt_cli.core.decoding import Decoding, ended_alike, until
from cmt_cli.core.prefix import Prefix, model_inputs

# Shapes: batch (prompts), groups, width (beams of one group), vocab, step (tokens so far).


@dataclass(slots=True)
class Beams:
    """Running and ended hypotheses. Scores are sums for running ones and means per token for ended ones."""

    tokens: Tensor  # [batch, groups, width, step]
    scores: Tensor  # [batch, groups, width]
    ended_tokens: Tensor  # [batch, groups, width, max_new], filled up with the end token
    ended_scores: Tensor  # [batch, groups, width], -inf where none has ended

    @staticmethod
    def start(batch: int, decoding: Decoding, eos_id: int, device: torch.device) -> Beams:
        """Return empty beams; only the first of each group may be extended, as all are still the same."""
        shape = (batch, decoding.num_beam_groups, decoding.num_beams // decoding.num_beam_groups)
        scores = torch.full(shape, -torch.inf, device=device)
        scores[..., 0] = 0.0
        return Beams(
            torch.empty(*shape, 0, dtype=torch.long, device=device),
            scores,
            torch.full((*shape, decoding.max_new_tokens), eos_id, device=device),
            torch.full(shape, -torch.inf, device=device),
        )

    def finished(self) -> Tensor:
        """Return `[batch]`, True where every group holds as many ended hypotheses as it has beams."""
        return self.ended_scores.isfinite().flatten(1).all(dim=1)

    def select(self, rows: Tensor) -> Beams:
        """Return the beams of some prompts."""
        return Beams(self.tokens[rows], self.scores[rows], self.ended_tokens[rows], self.ended_scores[rows])

    def best(self) -> Tensor:
        """Return the tokens of each prompt's best ended hypothesis, `[batch, max_new]`."""
        index = self.ended_scores.flatten(1).argmax(dim=1)
        return self.ended_tokens.flatten(1, 2)[torch.arange(len(index), device=index.device), index]


def diverse_beams(
    model: Any, input_ids: Tensor, mask: Tensor, prefix: Prefix | None, decoding: Decoding, end_ids: Sequence[int]
) -> list[list[int]]:
    """Continue left-padded prompts `[batch, seq]`; return the best hypothesis of each, without the end token.

    Each of `end_ids` ends a hypothesis.
    """
    inputs = model_inputs(model, input_ids, mask, prefix)
    out = model(**inputs, use_cache=True, logits_to_keep=1)
    cache = key_values.returned(out)
    position = inputs["position_ids"][:, -1:].repeat_interleave(decoding.num_beams, dim=0)
    prompts = torch.arange(len(input_ids), device=input_ids.device)
    key_values.select(cache, prompts.repeat_interleave(decoding.num_beams))
    logits = out.logits[:, -1].repeat_interleave(decoding.num_beams, dim=0)
    mask = inputs["attention_mask"].repeat_interleave(decoding.num_beams, dim=0)
    eos_id = end_ids[0]
    beams = Beams.start(len(input_ids), decoding, eos_id, input_ids.device)
    answers = input_ids.new_empty(len(input_ids), decoding.max_new_tokens)
    running = prompts  # index of each prompt that is still decoded
    for step in range(decoding.max_new_tokens):
        last = step + 1 == decoding.max_new_tokens
        log_p = logits.float().log_softmax(dim=-1).view(*beams.scores.shape, -1)
        beams, parents = extend(beams, log_p, penalty=decoding.diversity_penalty, end_ids=end_ids, last=last)
        finished = beams.finished() | last
        answers[running[finished]] = beams.best()[finished]
        if bool(finished.all()):
            break
        kept = (~finished).nonzero().squeeze(1)
        beams, parents, running = beams.select(kept), parents[kept], running[kept]
        rows = (kept[:, None] * decoding.num_beams + parents.flatten(1)).flatten()
        key_values.select(cache, rows)
        mask = torch.cat([mask[rows], mask.new_ones(len(rows), 1)], dim=1)
        position = position[rows] + 1
        out = model(
            input_ids=beams.tokens[..., -1].reshape(-1, 1),
            attention_mask=mask,
            position_ids=position,
            use_cache=True,
            **key_values.given(model, cache),
        )
        logits = out.logits[:, -1]
    return [until(row, eos_id) for row in answers.tolist()]


def extend(beams: Beams, log_p: Tensor, *, penalty: float, end_ids: Sequence[int], last: bool) -> tuple[Beams, Tensor]:
    """Add one token to every beam; `log_p` `[batch, groups, width, vocab]`.

    Return the new beams and the parent of each, `[batch, groups, width]`, as an index into the prompt's beams.
    """
    batch, groups, width, vocab = log_p.shape
    counts = log_p.new_zeros(batch, vocab)
    done = beams.ended_scores.isfinite().all(dim=2)  # [batch, groups]
    columns, parents = [], []
    for group in range(groups):
        part = Beams(*(t[:, group] for t in (beams.tokens, beams.scores, beams.ended_tokens, beams.ended_scores)))
        candidates = log_p[:, group] + part.scores[:, :, None] - penalty * counts[:, None]
        part, parent = _extend_group(part, candidates, done[:, group], end_ids=end_ids, last=last)
        votes = (~done[:, group, None] & part.scores.isfinite()).to(counts.dtype)
        counts = counts.scatter_add(1, part.tokens[..., -1], votes)
        columns.append(part)
        parents.append(parent + group * width)
    stacked = Beams(
        torch.stack([c.tokens for c in columns], dim=1),
        torch.stack([c.scores for c in columns], dim=1),
        torch.stack([c.ended_tokens for c in columns], dim=1),
        torch.stack([c.ended_scores for c in columns], dim=1),
    )
    return stacked, torch.stack(parents, dim=1)


def _extend_group(
    group: Beams, candidates: Tensor, done: Tensor, *, end_ids: Sequence[int], last: bool
) -> tuple[Beams, Tensor]:
    # One group without its axis: tokens [batch, width, step], candidates [batch, width, vocab], done [batch].
    _, width, vocab = candidates.shape
    scores, flat = candidates.flatten(1).topk(min((1 + len(end_ids)) * width, width * vocab), dim=1)
    parent, token = flat // vocab, ended_alike(flat % vocab, end_ids)
    eos_id = end_ids[0]
    tokens = torch.cat([_gather(group.tokens, parent), token[..., None]], dim=2)  # [batch, candidates, step + 1]
    # With one end token twice as many candidates as beams, so that enough go on when the best ones end; only the best
    # `width` may end.
    ends = (token == eos_id) | last
    may_end = ends & (torch.arange(ends.shape[1], device=ends.device) < width) & ~done[:, None]
    ended_scores = torch.where(may_end, scores / tokens.shape[2], -torch.inf)
    padding = group.ended_tokens.shape[2] - tokens.shape[2]
    merged_tokens = torch.cat([group.ended_tokens, torch.nn.functional.pad(tokens, (0, padding), value=eos_id)], dim=1)
    new_ended, keep = torch.cat([group.ended_scores, ended_scores], dim=1).topk(width, dim=1)
    new_scores, order = torch.where(ends, -torch.inf, scores).topk(width, dim=1)
    extended = Beams(_gather(tokens, order), new_scores, _gather(merged_tokens, keep), new_ended)
    return extended, parent.gather(1, order)


def _gather(rows: Tensor, index: Tensor) -> Tensor:
    # rows [batch, n, length], index [batch, m] -> [batch, m, length]
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[2]))
