"""Log-likelihoods of many continuations of few prompts, each prompt run through the model once.

A question with labels as choices asks for log p(label | prompt) of every label. The keys and values of the prompts are
computed in one batch and repeated for the continuations, which are then all that is read: of a prompt of P tokens and
n choices of c tokens P + n c tokens instead of n (P + c).

Prompts are padded on the left and continuations on the right, and positions count real tokens only, so that neither
padding nor the other rows of a batch change a score. Shape vocabulary: prompts, rows (continuations), vocab.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cmt_cli.core import key_values
from cmt_cli.core.device_memory import MemoryParts
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.prefix import Prefix, model_inputs
from cmt_cli.core.tokens import left_padded, length_batches

# Returns the prefix of prompts, given their tokens and their mask, both `[prompts, seq]`.
PrefixOf = Callable[[Tensor, Tensor], Prefix | None]
Precision = Callable[[], AbstractContextManager[Any]]  # in which the model runs
Row = tuple[Sequence[int], Sequence[int]]  # the tokens of a prompt and of its continuation, which is not empty


@dataclass(frozen=True, slots=True)
class _Shared:
    """The tokens of a prompt, and the numbers of the rows that begin with it."""

    tokens: Sequence[int]
    rows: list[int]


@dataclass(frozen=True, slots=True)
class _Read:
    """What is left of a batch of prompts: the keys and values, what masks them, and what is likely to follow."""

    cache: Any
    mask: Tensor  # [prompts, virtual + seq]
    position: Tensor  # [prompts, 1], of the last token
    log_probabilities: Tensor  # [prompts, vocab], of the first token of a continuation


@torch.no_grad()
def shared_loglikelihoods(
    model: Any,
    rows: Sequence[Row],
    *,
    prefix_of: PrefixOf,
    precision: Precision,
    device: torch.device,
    max_tokens: int,
    in_step: bool = False,
) -> dict[int, float]:
    """Return log p(continuation | prompt) in nats of the rows whose prompt other rows have too, by their numbers.

    A forward pass over continuations holds at most `max_tokens` padded tokens, keys and values of the prompts
    included; that bounds memory, not the result. `in_step` says that ranks run the model together.
    """
    shared = _shared(rows)
    scores: dict[int, float] = {}
    prompts, continuations = MemoryParts(), MemoryParts()

    def read_and_scored(chosen: Sequence[int]) -> dict[int, float]:
        part = [shared[i] for i in chosen]
        read = _read(model, [p.tokens for p in part], prefix_of=prefix_of, precision=precision, device=device)
        owned = [(k, number) for k, prompt in enumerate(part) for number in prompt.rows]

        def scored(members: Sequence[int]) -> dict[int, float]:
            owners = torch.tensor([owned[m][0] for m in members], device=device)
            numbers = [owned[m][1] for m in members]
            with precision():
                found = _continued(model, read, owners, [rows[number][1] for number in numbers])
            return dict(zip(numbers, found.tolist(), strict=True))

        lengths = [read.mask.shape[1] + len(rows[number][1]) for _, number in owned]
        batches = length_batches(lengths, max_tokens=max_tokens)
        found = (part for batch in batches for part in continuations.run(scored, batch, in_step=in_step))
        return {number: score for part in found for number, score in part.items()}

    for batch in length_batches([len(prompt.tokens) for prompt in shared], max_tokens=max_tokens):
        for found in prompts.run(read_and_scored, batch, in_step=in_step):
            scores |= found
    return scores


def _shared(rows: Sequence[Row]) -> list[_Shared]:
    """Return the prompts that several rows begin with."""
    found: dict[tuple[int, ...], _Shared] = {}
    for number, (prompt, _) in enumerate(rows):
        if prompt:
            found.setdefault(tuple(prompt), _Shared(prompt, [])).rows.append(number)
    return [shared for shared in found.values() if len(shared.rows) > 1]


def _read(
    model: Any, prompts: Sequence[Sequence[int]], *, prefix_of: PrefixOf, precision: Precision, device: torch.device
) -> _Read:
    """Run prompts through the model; padding is masked, so that any token may stand there."""
    padded, is_real = left_padded(prompts, 0)
    ids, mask = torch.tensor(padded, device=device), torch.tensor(is_real, device=device)
    prefix = prefix_of(ids, mask.bool())
    with precision():
        inputs = model_inputs(model, ids, mask, prefix)
        out = model(**inputs, use_cache=True, logits_to_keep=1)
    following = out.logits[:, -1].float().log_softmax(dim=-1)
    return _Read(key_values.returned(out), inputs["attention_mask"], inputs["position_ids"][:, -1:], following)


def _continued(model: Any, read: _Read, owners: Tensor, continuations: Sequence[Sequence[int]]) -> Tensor:
    """Return the log-likelihood of each continuation `[rows]`, on the CPU, behind the prompt that `owners` names."""
    device, length = owners.device, max(map(len, continuations))
    tokens = torch.tensor([[*row, *[0] * (length - len(row))] for row in continuations], device=device)
    is_real = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in continuations], device=device)
    total = read.log_probabilities[owners, tokens[:, 0]].double()
    if length == 1:
        return total.cpu()
    out = model(
        input_ids=tokens[:, :-1],
        attention_mask=torch.cat([read.mask[owners], is_real[:, :-1].to(read.mask.dtype)], dim=1),
        position_ids=read.position[owners] + torch.arange(1, length, device=device),
        use_cache=True,
        **key_values.given(model, key_values.selected(read.cache, owners)),
    )
    targets = tokens[:, 1:].masked_fill(is_real[:, 1:] == 0, IGNORED)
    nll = F.cross_entropy(out.logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return (total - nll.view_as(targets).double().sum(dim=1)).cpu()
