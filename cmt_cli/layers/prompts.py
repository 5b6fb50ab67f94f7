"""Soft prompts: trained virtual tokens at the input.

    [P_t; ...; P_1; x]    P_i [virtual, hidden], x the embedded tokens; the newest prompt stands in front

One prompt is prompt tuning (Lester et al. 2021, arXiv 2104.08691), several are progressive prompts (Razdaibiedina et
al. 2023, arXiv 2301.12314). A prompt starts at the embeddings of common tokens drawn from the vocabulary, or of a text.
The prompts are float32 and cast where the model takes them up, so that a half-precision or quantized base works.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.learner import PREFIX_SOURCE, Learner
from cmt_cli.core.prefix import Prefix
from cmt_cli.core.setting_checks import positive


class SoftPrompts(nn.Module):
    """Soft prompts in the order in which they were added; the newest stands in front."""

    is_fixed = True

    def __init__(self) -> None:
        """Start without a prompt; `SoftPrompt.grow` adds one."""
        super().__init__()
        self.prompts = nn.ParameterDict()  # each [virtual, hidden]
        self.network: TanhNetwork | None = None  # reparametrizes the newest prompt: P + network(P)
        self.num_used = 0

    @property
    def num_virtual(self) -> int:
        """Return the virtual tokens of the prompts in use."""
        return sum(len(self.prompts[_name(i)]) for i in range(self.num_used))

    def prefix(self, input_ids: Tensor, is_prompt: Tensor) -> Prefix | None:
        """Return the prompts in use, the same for every row; None where there are none."""
        if self.num_used == 0:
            return None
        values = torch.cat([self.value(i) for i in reversed(range(self.num_used))])
        return Prefix(embeddings=values.expand(len(input_ids), -1, -1))

    def value(self, index: int) -> Tensor:
        """Return prompt number `index` as it acts, `[virtual, hidden]`."""
        prompt = self.prompts[_name(index)]
        if self.network is None or index + 1 < len(self.prompts):
            return prompt
        return prompt + self.network(prompt)

    @contextmanager
    def using(self, num_used: int) -> Iterator[None]:
        """Use only the first `num_used` prompts within the block."""
        before, self.num_used = self.num_used, num_used
        try:
            yield
        finally:
            self.num_used = before

    @torch.no_grad()
    def fold(self) -> None:
        """Let the newest prompt be what the network makes of it, and drop the network."""
        if self.network is not None:
            newest = len(self.prompts) - 1
            self.prompts[_name(newest)].copy_(self.value(newest))
            self.network = None

    def add(self, prompt: Tensor) -> None:
        """Put a prompt `[virtual, hidden]` in front of the others."""
        self.network = None
        self.prompts[_name(len(self.prompts))] = nn.Parameter(prompt)
        self.num_used = len(self.prompts)

    def remove(self) -> None:
        """Take the newest prompt away."""
        self.network = None
        del self.prompts[_name(len(self.prompts) - 1)]
        self.num_used = len(self.prompts)


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftPrompt:
    """One soft prompt of `num_virtual` tokens that start at `text`'s, or at drawn ones among the `num_common` first."""

    num_virtual: int
    text: str | None
    num_common: int
    seed: int
    learning_rate: float | None = None  # peak, for budgets that leave theirs open

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Add the prompt, which alone is trained, and return it."""
        prompts = SoftPrompts()
        learner.add_prefix(prompts)
        return self.grow(learner, prompts, width=None)

    def grow(self, learner: Learner, prompts: SoftPrompts, *, width: int | None) -> list[nn.Parameter]:
        """Put a prompt in front of the others, freeze all else and return what is trained.

        `width` is that of the network that reparametrizes it, None for none.
        """
        check_room(learner, prompts.num_virtual + positive_tokens(self.num_virtual))
        index = len(prompts.prompts)
        prompts.add(embeddings(learner, self._ids(learner, index)))
        if width is not None:
            generator = torch.Generator().manual_seed(self.seed + index)
            network = TanhNetwork(learner.hidden_size, width, learner.hidden_size, generator)
            prompts.network = network.to(learner.device)
        learner.model.requires_grad_(False)
        names = [f"prompts.{_name(index)}", *(name for name, _ in prompts.named_parameters() if "network" in name)]
        return learner.unfreeze(f"{PREFIX_SOURCE}.{name}" for name in names)

    def _ids(self, learner: Learner, index: int) -> list[int]:
        if self.text is None:
            return drawn_tokens(learner, self.num_virtual, num_common=self.num_common, seed=self.seed + index)
        ids = learner.encode(self.text)
        if not ids:
            raise UserError("The text that a soft prompt starts from is empty; null draws tokens from the vocabulary.")
        return (ids * (self.num_virtual // len(ids) + 1))[: self.num_virtual]


class TanhNetwork(nn.Module):
    """W_2 tanh(W_1 x + b_1) + b_2, always in float32; all entries start uniform within 1 / sqrt(inputs)."""

    def __init__(self, num_inputs: int, width: int, num_outputs: int, generator: torch.Generator) -> None:
        """Draw the weights from `generator`."""
        super().__init__()
        self.inner = nn.Linear(num_inputs, int(positive(width, "reparametrization")))
        self.outer = nn.Linear(width, num_outputs)
        for layer in (self.inner, self.outer):
            for parameter in (layer.weight, layer.bias):
                nn.init.uniform_(parameter, -(layer.in_features**-0.5), layer.in_features**-0.5, generator=generator)

    @override
    def forward(self, values: Tensor) -> Tensor:
        """Map `[virtual, inputs]` to `[virtual, outputs]`."""
        with torch.autocast(values.device.type, enabled=False):
            mapped: Tensor = self.outer(torch.tanh(self.inner(values)))
        return mapped


def drawn_tokens(learner: Learner, num: int, *, num_common: int, seed: int) -> list[int]:
    """Return ids drawn, with replacement, from the vocabulary's first `num_common`, special tokens left out.

    Vocabularies are built by frequency, so the first tokens are the common ones.
    """
    special = set(learner.tokenizer.all_special_ids)
    common = [i for i in range(min(num_common, len(learner.tokenizer))) if i not in special]
    if not common:
        raise UserError(f"num_common={num_common} leaves no token of the vocabulary that a prompt could start from.")
    return random.Random(seed).choices(common, k=num)


@torch.no_grad()
def embeddings(learner: Learner, ids: list[int]) -> Tensor:
    """Return the input embeddings of tokens in float32, `[tokens, hidden]`."""
    found: Tensor = learner.model.get_input_embeddings()(torch.tensor(ids, device=learner.device))
    return found.float()


def check_room(learner: Learner, num_virtual: int) -> None:
    """Raise UserError where virtual tokens would take more than half of a sequence."""
    if 2 * num_virtual > learner.max_tokens:
        raise UserError(
            f"{counted(num_virtual, 'virtual token')} would take more than half of the {learner.max_tokens} tokens of "
            "a sequence. Use fewer virtual tokens, or raise model.max_tokens."
        )


def positive_tokens(num_virtual: int) -> int:
    """Return a number of virtual tokens, or raise UserError for none."""
    return int(positive(num_virtual, "num_virtual"))


def _name(index: int) -> str:
    return f"prompt_{index}"  # a bare number in a parameter's name would read as that of a decoder block
