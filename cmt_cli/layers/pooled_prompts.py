"""A pool of soft prompts with keys, of which every question gets the few whose keys are nearest to it.

    q = mean over the question's tokens of the frozen model's last hidden states, without any prompt
    input: [P_s1; ...; P_sN; x],    s1, ..., sN = the N largest cos(q, k_i), nearest first

Wang et al. 2022, L2P (arXiv 2112.08654). The question is all that is read before the answer, with its start token; of
a text without a question it is the first token. q has no gradient, so a row costs one forward pass more over its
question; keys learn through `pull` alone, prompts through the model. With `usage`, the share u_i that prompt i had in
earlier tasks' choices, the N smallest (1 - cos(q, k_i)) u_i are taken instead (the paper's optional diversification).

Each row chooses for itself, where the authors' code takes a batch's majority. q has no part that is trained: it is in
the precision of the base model, whatever the trainer's, so that training and answering choose alike. Padding changes
q's last bits, so a row whose N-th and next key are all but equally near may choose differently in another batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import PREFIX_SOURCE, Learner
from cmt_cli.core.prefix import Prefix, model_inputs
from cmt_cli.layers.prompts import check_room, drawn_tokens, embeddings, positive_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """`num_prompts` prompts of `num_virtual` tokens each, of which a question gets `num_chosen`.

    Prompts start at tokens drawn among the vocabulary's `num_common` first, keys uniform within [-1, 1].
    """

    num_prompts: int
    num_virtual: int
    num_chosen: int
    num_common: int
    seed: int
    learning_rate: float | None = None  # peak, for budgets that leave theirs open

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Add the pool, which alone is trained, and return its prompts and keys."""
        if not 0 < self.num_chosen <= self.num_prompts:
            raise UserError(
                f"num_chosen={self.num_chosen} does not fit a pool of num_prompts={self.num_prompts}; "
                f"give 1 to {self.num_prompts}."
            )
        check_room(learner, self.num_chosen * positive_tokens(self.num_virtual))
        num_tokens = self.num_prompts * self.num_virtual
        ids = drawn_tokens(learner, num_tokens, num_common=self.num_common, seed=self.seed)
        prompts = embeddings(learner, ids).unflatten(0, (self.num_prompts, self.num_virtual))
        generator = torch.Generator().manual_seed(self.seed)
        keys = torch.rand(self.num_prompts, learner.hidden_size, generator=generator) * 2 - 1
        learner.add_prefix(PromptPool(learner.model, prompts, keys, num_chosen=self.num_chosen))
        learner.model.requires_grad_(False)
        return learner.unfreeze(f"{PREFIX_SOURCE}.{name}" for name in ("prompts", "keys"))


class PromptPool(nn.Module):
    """Chooses prompts for each row by the frozen model's view of its question."""

    is_fixed = False

    def __init__(self, model: Any, prompts: Tensor, keys: Tensor, *, num_chosen: int) -> None:
        """Start at `prompts` `[pool, virtual, hidden]` and `keys` `[pool, hidden]`; `model` makes the queries."""
        super().__init__()
        self.prompts = nn.Parameter(prompts)
        self.keys = nn.Parameter(keys)
        self.num_chosen = num_chosen
        self.num_virtual = num_chosen * prompts.shape[1]
        self.usage: Tensor | None = None  # [pool], while it shall diversify the choice
        self._model = (model,)  # not a submodule: this module is one of the model's
        self._latest: tuple[Tensor, Tensor, Tensor] | None = None

    def prefix(self, input_ids: Tensor, is_prompt: Tensor) -> Prefix:
        """Return each row's chosen prompts, the nearest first."""
        chosen = self.choice(input_ids, is_prompt)
        return Prefix(embeddings=self.prompts[chosen].flatten(1, 2))

    def choice(self, input_ids: Tensor, is_prompt: Tensor) -> Tensor:
        """Return the indices of the prompts of each row, `[batch, chosen]`."""
        return nearest(self.cosines(input_ids, is_prompt).detach(), self.num_chosen, self.usage)

    def pull(self, input_ids: Tensor, is_prompt: Tensor) -> Tensor:
        """Return the sum of each row's cosines with its chosen keys, `[batch]`; its gradient moves these keys."""
        cosines = self.cosines(input_ids, is_prompt)
        return cosines.gather(1, nearest(cosines.detach(), self.num_chosen, self.usage)).sum(dim=1)

    def cosines(self, input_ids: Tensor, is_prompt: Tensor) -> Tensor:
        """Return the cosines of the rows' queries with all keys, `[batch, pool]`."""
        queries = self._queries(input_ids, is_prompt)
        with torch.autocast(input_ids.device.type, enabled=False):
            return F.normalize(queries, dim=1) @ F.normalize(self.keys, dim=1).T

    def _queries(self, input_ids: Tensor, is_prompt: Tensor) -> Tensor:
        # A batch's queries are kept until the next one's, because its penalty and a teacher ask for them again. The
        # tensor itself is compared, so that a forward pass over other rows in between does no harm.
        if self._latest is not None and self._latest[0] is input_ids and torch.equal(self._latest[1], is_prompt):
            return self._latest[2]
        queries = question_means(self._model[0], input_ids, is_prompt)
        self._latest = input_ids, is_prompt, queries
        return queries


def nearest(cosines: Tensor, num_chosen: int, usage: Tensor | None) -> Tensor:
    """Return the indices `[batch, chosen]` of the nearest keys, given `[batch, pool]` and perhaps `[pool]` shares."""
    closeness = cosines if usage is None else (cosines - 1) * usage
    return closeness.topk(num_chosen, dim=1).indices


@torch.no_grad()
def question_means(model: Any, input_ids: Tensor, is_prompt: Tensor) -> Tensor:
    """Return the mean of the last hidden states over each question's tokens, `[batch, hidden]`, in float32.

    What follows the questions is not read. `input_ids` and `is_prompt` are `[batch, seq]`; prompts of the model's own
    are left out.
    """
    queried = is_prompt.clone()
    queried[:, 0] |= ~is_prompt.any(dim=1)
    columns = queried.any(dim=0).nonzero().squeeze(1)
    inputs = model_inputs(model, input_ids[:, columns], queried[:, columns].long(), None)
    half = model.dtype in (torch.bfloat16, torch.float16)
    with torch.autocast(input_ids.device.type, model.dtype if half else None, enabled=half):
        states = model.base_model(**inputs, use_cache=False).last_hidden_state.float()
    real = queried[:, columns, None]
    means: Tensor = (states * real).sum(dim=1) / real.sum(dim=1)
    return means
