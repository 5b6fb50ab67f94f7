"""A live causal language model with its tokenizer: rows of tokens in, losses, hidden states and answers out.

The base weights are frozen when a learner is made; a method unfreezes or adds what it trains. A memory reaches the
model as a `Prefix`: soft tokens at the input, or keys and values in front of every layer (P-tuning v2).
Prompt and target are tokenized together and split at their longest common token prefix, so that no token appears at the
boundary which the model would not see in running text.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cmt_cli.core.decoding import Decoding, decode
from cmt_cli.core.losses import IGNORED, kept_positions, token_nll
from cmt_cli.core.prefix import Prefix, model_inputs
from cmt_cli.core.stream import Answer, Example, Prompt


@dataclass(frozen=True, slots=True)
class Row:
    """One token sequence. The first `num_prompt_tokens` are read, the rest are targets."""

    id: str
    input_ids: tuple[int, ...]
    num_prompt_tokens: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows: `input_ids`, `attention_mask`, `labels` are `[batch, seq]`; labels of unscored tokens are -100."""

    ids: tuple[str, ...]
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    replayed: Tensor  # [batch], True for rows that come from a memory


@dataclass(frozen=True, slots=True)
class Outputs:
    """One forward pass.

    `token_nll` `[batch, seq]` scores token t at position t; `logits` `[batch, kept, vocab]` are those at the positions
    `kept` `[kept]`; `hidden_states` are `[batch, seq, hidden]` per layer, embeddings first, empty unless asked for.
    """

    token_nll: Tensor
    logits: Tensor
    kept: Tensor
    hidden_states: tuple[Tensor, ...] = ()


class Predictor(Protocol):
    """Whatever can answer: a learner, or a wrapper that adds a prefix, passages or tools."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Answer each prompt."""

    def loglikelihood(self, prompts: Sequence[Prompt], targets: Sequence[str]) -> list[float]:
        """Return log p(target | prompt) in nats, summed over the target's tokens."""


class Learner:
    """A causal LM and its tokenizer; base weights frozen until a method unfreezes them."""

    def __init__(self, model: Any, tokenizer: Any, *, name: str, revision: str, max_tokens: int) -> None:
        """Wrap `model` and `tokenizer`; sequences longer than `max_tokens` are split or cut (see `rows`)."""
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.revision = revision
        self.max_tokens = max_tokens
        self.num_truncated = 0
        self._unfrozen: set[str] = set()

    @property
    def device(self) -> torch.device:
        """Return the device of the input embeddings."""
        return self.model.get_input_embeddings().weight.device

    @property
    def hidden_size(self) -> int:
        """Return the width of the residual stream."""
        return int(self.model.get_input_embeddings().embedding_dim)

    @property
    def eos_id(self) -> int:
        """Return the id of the end-of-sequence token."""
        return int(self.tokenizer.eos_token_id)

    @property
    def pad_id(self) -> int:
        """Return the id used for padding; padded positions are always masked."""
        pad = self.tokenizer.pad_token_id
        return self.eos_id if pad is None else int(pad)

    def encode(self, text: str) -> list[int]:
        """Tokenize text without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _bos(self) -> list[int]:
        bos = self.tokenizer.bos_token_id
        starts = self.tokenizer("a", verbose=False)["input_ids"][:1]
        return [bos] if bos is not None and starts == [bos] else []

    def prompt_ids(self, text: str) -> list[int]:
        """Tokenize a prompt as the model expects it at the start of a sequence; over-long prompts lose their front."""
        ids = [*self._bos(), *self.encode(text)]
        return ids[-self.max_tokens :] if ids else [self.eos_id]

    def segments(self, text: str, *, max_tokens: int, stride: int) -> list[list[int]]:
        """Split a text into overlapping windows of at most `max_tokens` tokens that start every `stride` tokens."""
        ids = self.encode(text)
        starts = range(0, max(1, len(ids) - max_tokens + stride), stride)
        return [ids[start : start + max_tokens] for start in starts] if len(ids) > max_tokens else [ids]

    def rows(self, example: Example) -> list[Row]:
        """Tokenize one example; a text without prompt that is too long becomes several rows, a long prompt loses its front."""
        bos = self._bos()
        if not example.prompt:
            room = self.max_tokens - len(bos) - 1
            pieces = self.segments(example.target, max_tokens=room, stride=room)
            last = len(pieces) - 1
            ends = [[self.eos_id] if i == last else [] for i in range(len(pieces))]
            return [Row(example.id, tuple(bos + ids + end), len(bos)) for ids, end in zip(pieces, ends, strict=True)]
        whole, prompt = self.encode(example.prompt + example.target), self.encode(example.prompt)
        shared = _common_length(whole, prompt)
        sequence = [*bos, *whole, self.eos_id]
        num_prompt = len(bos) + shared
        excess = len(sequence) - self.max_tokens
        if excess > 0:
            self.num_truncated += 1
            cut = min(excess, max(num_prompt - 1, 0))
            sequence, num_prompt = sequence[cut:][: self.max_tokens], num_prompt - cut
        return [Row(example.id, tuple(sequence), num_prompt)]

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Right-pad rows to a batch on the model's device."""
        length = max(len(row.input_ids) for row in rows)
        ids = torch.full((len(rows), length), self.pad_id)
        mask = torch.zeros(len(rows), length, dtype=torch.long)
        labels = torch.full((len(rows), length), IGNORED)
        for i, row in enumerate(rows):
            tokens = torch.tensor(row.input_ids)
            ids[i, : len(tokens)] = tokens
            mask[i, : len(tokens)] = 1
            labels[i, row.num_prompt_tokens : len(tokens)] = tokens[row.num_prompt_tokens :]
        replayed = torch.tensor([row.replayed for row in rows])
        device = self.device
        return Batch(
            tuple(row.id for row in rows),
            ids.to(device),
            mask.to(device),
            labels.to(device),
            replayed.to(device),
        )

    def forward(self, batch: Batch, *, hidden_states: bool = False, prefix: Prefix | None = None) -> Outputs:
        """Run the model on a batch; `prefix` holds one memory per row and takes positions 0..virtual - 1."""
        num_virtual = prefix.num_virtual if prefix is not None else 0
        kept = kept_positions(batch.labels)
        inputs = model_inputs(self.model, batch.input_ids, batch.attention_mask, prefix)
        in_sequence = num_virtual if prefix is not None and prefix.embeddings is not None else 0
        out = self.model(
            **inputs,
            logits_to_keep=kept + in_sequence,
            output_hidden_states=hidden_states,
            use_cache=prefix is not None and prefix.embeddings is None,
        )
        states = tuple(h[:, in_sequence:] for h in out.hidden_states) if hidden_states else ()
        return Outputs(token_nll(out.logits, batch.labels, kept), out.logits, kept, states)

    @torch.no_grad()
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, prefix: Prefix | None = None) -> list[Answer]:
        """Answer prompts in batches of `decoding.batch_size`, longest together; the result does not depend on batching."""
        encoded = [self.prompt_ids(prompt.text) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
        answers: list[Answer] = [Answer("")] * len(prompts)
        for start in range(0, len(order), decoding.batch_size):
            chosen = order[start : start + decoding.batch_size]
            part = prefix.rows(torch.tensor(chosen, device=self.device)) if prefix is not None else None
            tokens = decode(self.model, *self._left_padded([encoded[i] for i in chosen]), part, decoding, self.eos_id)
            for i, ids in zip(chosen, tokens, strict=True):
                answers[i] = Answer(self.decode(ids).strip())
        return answers

    def _left_padded(self, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        length = max(len(ids) for ids in sequences)
        padded = [[self.pad_id] * (length - len(ids)) + list(ids) for ids in sequences]
        mask = [[0] * (length - len(ids)) + [1] * len(ids) for ids in sequences]
        return torch.tensor(padded, device=self.device), torch.tensor(mask, device=self.device)

    @torch.no_grad()
    def loglikelihood(
        self, prompts: Sequence[Prompt], targets: Sequence[str], prefix: Prefix | None = None
    ) -> list[float]:
        """Return log p(target | prompt) in nats, summed over the target's tokens and the end token."""
        scores: list[float] = []
        for i, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
            batch = self.collate(self.rows(Example(prompt.id, prompt.text, target)))
            part = prefix.rows(torch.tensor([i], device=self.device)) if prefix is not None else None
            scores.append(-float(self.forward(batch, prefix=part).token_nll.sum()))
        return scores

    def unfreeze(self, names: Iterable[str] | None = None) -> list[nn.Parameter]:
        """Make parameters trainable (all by default), in float32 so that small updates are not lost; return them."""
        chosen = dict(self.model.named_parameters())
        if names is not None:
            chosen = {name: chosen[name] for name in names}
        for name, parameter in chosen.items():
            if not parameter.is_floating_point():
                raise ValueError(f"'{name}' is stored as {parameter.dtype}: quantized weights cannot be trained.")
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
            self._unfrozen.add(name)
        return list(chosen.values())

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters of the model that take gradients."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def frozen_copy(self) -> Learner:
        """Return an independent copy that takes no gradients: a teacher or a reference."""
        return Learner(
            copy.deepcopy(self.model),
            self.tokenizer,
            name=self.name,
            revision=self.revision,
            max_tokens=self.max_tokens,
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return the parameters that were unfrozen at any time; the rest is the base model's."""
        return {n: p.detach().clone() for n, p in self.model.named_parameters() if n in self._unfrozen}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned, in place."""
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in state.items():
                parameters[name].data = value.to(parameters[name].device, torch.float32).clone()
                self._unfrozen.add(name)


def _common_length(left: Sequence[int], right: Sequence[int]) -> int:
    for i, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return i
    return min(len(left), len(right))
