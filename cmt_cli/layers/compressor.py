"""The compressors of amortized memory methods: text in, a few vectors out.

`SelfCompressor`: the frozen language model itself with LoRA and learned soft tokens appended to the text; the memory is
the last layer's states at the soft tokens (as in ICAE, arXiv 2307.06945, and AutoCompressors, arXiv 2305.14788).
`T5Compressor`: an encoder-decoder whose decoder input is learned vectors, followed by one small network per vector
(MAC, arXiv 2403.04317). Deviation from MAC's released code: the decoder gets the encoder's padding mask, so that a
memory does not depend on the batch it was computed in.
Shapes: batch, seq, slots (vectors per text), width (size of a vector), hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.layers.lora import LoraLayers


class Compressor(Protocol):
    """What an amortizer needs of a compressor; implementations are `nn.Module`s."""

    num_slots: int
    width: int

    def segments(self, text: str) -> list[list[int]]:
        """Tokenize a text and split it where it is longer than the compressor reads at once."""

    def __call__(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Compress token sequences to `[batch, slots, width]`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfCompression:
    """Settings of `SelfCompressor`: LoRA `rank`, `alpha`, `targets`; segments of `max_tokens` every `stride` tokens."""

    num_slots: int
    rank: int
    alpha: float
    targets: str | Sequence[str]
    max_tokens: int
    stride: int

    def build(self, learner: Learner, seed: int) -> SelfCompressor:
        """Make the compressor of a learner, its draws from `seed`."""
        return SelfCompressor(learner, self, seed)


class SelfCompressor(nn.Module):
    """The learner's frozen model with LoRA and soft tokens; `width` is the model's hidden size."""

    def __init__(self, learner: Learner, settings: SelfCompression, seed: int) -> None:
        super().__init__()
        self.settings = settings
        self.num_slots, self.width = settings.num_slots, learner.hidden_size
        self._learner = [learner]  # in a list: the base model's weights are not this module's
        self.lora = LoraLayers(
            learner.model, rank=settings.rank, alpha=settings.alpha, targets=settings.targets, seed=seed
        )
        generator = torch.Generator().manual_seed(seed + 1)
        scale = learner.model.get_input_embeddings().weight.float().std().item()
        soft = torch.randn(self.num_slots, self.width, generator=generator) * scale
        self.soft_tokens = nn.Parameter(soft.to(learner.device))

    def segments(self, text: str) -> list[list[int]]:
        """Tokenize a text and split it into overlapping segments."""
        room = min(self.settings.max_tokens, self._learner[0].max_tokens - self.num_slots)
        return self._learner[0].segments(text, max_tokens=room, stride=min(self.settings.stride, room))

    @override
    def forward(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Compress token sequences to `[batch, slots, hidden]`; left padding is masked."""
        learner = self._learner[0]
        length = max(1, max(len(ids) for ids in sequences))
        padded = [[learner.pad_id] * (length - len(ids)) + list(ids) for ids in sequences]
        real = [[0] * (length - len(ids)) + [1] * (len(ids) + self.num_slots) for ids in sequences]
        mask = torch.tensor(real, device=learner.device)
        embedded = learner.model.get_input_embeddings()(torch.tensor(padded, device=learner.device))
        soft = self.soft_tokens.to(embedded.dtype).expand(len(sequences), -1, -1)
        with self.lora.active(), learner.layer_checkpoints.entered(learner.model):
            states = learner.model.base_model(
                inputs_embeds=torch.cat([embedded, soft], dim=1),
                attention_mask=mask,
                position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
                use_cache=False,
            ).last_hidden_state
        return states[:, -self.num_slots :].float()


@dataclass(frozen=True, kw_only=True, slots=True)
class T5Compression:
    """Settings of `T5Compressor`: `name_or_path` of a T5 (hub id or folder); segments of `max_tokens` tokens."""

    num_slots: int
    name_or_path: str
    revision: str | None
    max_tokens: int
    stride: int

    def build(self, learner: Learner, seed: int) -> T5Compressor:
        """Load the T5 and add the learned decoder inputs and output networks, their draws from `seed`."""
        return T5Compressor(learner, self, seed)


class T5Compressor(nn.Module):
    """T5 with learned decoder inputs; all of it trains. `width` is the learner's hidden size."""

    def __init__(self, learner: Learner, settings: T5Compression, seed: int) -> None:
        super().__init__()
        self.settings = settings
        self.num_slots, self.width = settings.num_slots, learner.hidden_size
        self.t5, self._tokenizer = _load_t5(settings)
        size = self.t5.config.d_model
        generator = torch.Generator().manual_seed(seed)
        self.soft_tokens = nn.Parameter(torch.randn(self.num_slots, size, generator=generator) * 0.02)
        self.outputs = SlotNetworks(self.num_slots, size, self.width, self.width, generator)
        self.to(learner.device)

    def segments(self, text: str) -> list[list[int]]:
        """Tokenize a text and split it into overlapping segments, each ended by the end token."""
        ids = list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        room, end = self.settings.max_tokens - 1, self._tokenizer.eos_token_id
        last = max(1, len(ids) - room + self.settings.stride) if len(ids) > room else 1
        return [[*ids[start : start + room], end] for start in range(0, last, self.settings.stride)]

    @override
    def forward(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Compress token sequences to `[batch, slots, width]`; right padding is masked in encoder and decoder."""
        length = max(len(ids) for ids in sequences)
        device = self.soft_tokens.device
        ids = torch.tensor([[*s, *[0] * (length - len(s))] for s in sequences], device=device)
        mask = torch.tensor([[1] * len(s) + [0] * (length - len(s)) for s in sequences], device=device)
        soft = self.soft_tokens.expand(len(sequences), -1, -1)
        states = self.t5(
            input_ids=ids, attention_mask=mask, decoder_inputs_embeds=soft, use_cache=False
        ).last_hidden_state
        return self.outputs(states.float())


class SlotNetworks(nn.Module):
    """One network per slot: LN -> Linear -> tanh -> Linear, plus a linear skip; the slots' weights are stacked."""

    def __init__(self, num_slots: int, inputs: int, inner: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.first = nn.Parameter(_uniform(num_slots, inputs, inner, generator))
        self.second = nn.Parameter(_uniform(num_slots, inner, outputs, generator))
        self.skip = nn.Parameter(_uniform(num_slots, inputs, outputs, generator))

    @override
    def forward(self, states: Tensor) -> Tensor:
        """Map `[batch, slots, inputs]` to `[batch, slots, outputs]`."""
        inner = torch.einsum("bsi,sij->bsj", self.norm(states), self.first).tanh()
        return torch.einsum("bsj,sjo->bso", inner, self.second) + torch.einsum("bsi,sio->bso", states, self.skip)


def _uniform(slots: int, inputs: int, outputs: int, generator: torch.Generator) -> Tensor:
    return (torch.rand(slots, inputs, outputs, generator=generator) * 2 - 1) * inputs**-0.5


def _load_t5(settings: T5Compression) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, T5Model

    name = settings.name_or_path
    local_only = not Path(name).is_dir() and _is_offline()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=settings.revision, local_files_only=local_only)
        model = T5Model.from_pretrained(name, revision=settings.revision, local_files_only=local_only)
    except OSError as error:
        raise UserError(
            f"The compressor's T5 '{name}' cannot be loaded: {str(error).splitlines()[0]} "
            "Set method.compressor.name_or_path to a local folder, or download it first with `hf download`."
        ) from error
    return model, tokenizer


def _is_offline() -> bool:
    import huggingface_hub.constants

    return bool(huggingface_hub.constants.HF_HUB_OFFLINE)
