"""Losses as pure functions on tensors.

Shape vocabulary: batch, seq, vocab, kept. `kept` are the sequence positions whose logits a model computed.
Alignment: `token_nll[:, t]` scores token t of the sequence, so position 0 is always 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100  # label of a position that is not scored


def token_nll(logits: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
    """Return the negative log-likelihood of each labelled token in nats, `[batch, seq]`, 0 where unlabelled.

    `logits` `[batch, kept, vocab]` are those at positions `kept` `[kept]`; the logits at position t - 1 score token t.
    """
    targets = labels[:, kept + 1]
    scored = F.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    ).view_as(targets)
    nll = torch.zeros(labels.shape, dtype=scored.dtype, device=scored.device)
    return nll.index_copy(1, kept + 1, scored)


def kept_positions(labels: Tensor) -> Tensor:
    """Return the positions whose logits score a labelled token in any row, `[kept]`; labels `[batch, seq]`."""
    return (labels[:, 1:] != IGNORED).any(dim=0).nonzero().squeeze(1)


def num_labelled(labels: Tensor) -> Tensor:
    """Return how many tokens of labels `[batch, seq]` are scored, a scalar."""
    return (labels[:, 1:] != IGNORED).sum()


def mean_over_tokens(nll: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean per labelled token over the whole batch; `weights` `[batch, seq]` multiply the numerator only."""
    total = (nll if weights is None else nll * weights).sum()
    return total / num_labelled(labels).clamp(min=1)


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Return KL(teacher || student) per position in nats, `[...]`, for logits `[..., vocab]`."""
    teacher = F.log_softmax(teacher_logits.float(), dim=-1)
    student = F.log_softmax(student_logits.float(), dim=-1)
    return (teacher.exp() * (teacher - student)).sum(dim=-1)
