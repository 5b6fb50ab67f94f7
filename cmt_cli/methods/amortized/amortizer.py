"""The amortizer of cmt, mac and mbc: compressor, question encoder, aggregator and injection, and how they answer.

A compressor turns a document into a few vectors, a question into a query; an aggregator joins memories into one; an
injection hands it to the frozen language model. Learning a document is one forward pass and an append to the bank.
Meta-training goes over (question, document) pairs whose batch is the bank.
Shapes: batch (questions), docs, slots, width, key.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from cmt_cli.core.batch import Predictor, Row
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.device_memory import MemoryParts
from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.learner import Learner
from cmt_cli.core.prefix import Prefix
from cmt_cli.core.process_group import SINGLE_PROCESS, ProcessGroup
from cmt_cli.core.sharded import all_gather, local_slice
from cmt_cli.core.stream import Answer, Episode, Prompt
from cmt_cli.layers.aggregation import CrossAttention, CrossAttentionSettings

Documents = tuple[tuple[str, float], ...]


class CompressorSettings(Protocol):
    """Settings that build a compressor once the learner is there; see `layers/compressor.py`."""

    def build(self, learner: Learner, seed: int) -> Any:
        """Make the module."""


class InjectionSettings(Protocol):
    """Settings that build an injection layer once the learner is there; see `layers/injection.py`."""

    def build(self, learner: Learner, num_slots: int, seed: int) -> Any:
        """Make the module."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AmortizerSettings:
    """The parts of an amortizer. `question_compressor` None shares the document compressor."""

    compressor: CompressorSettings
    question_compressor: CompressorSettings | None
    aggregator: CrossAttentionSettings
    injection: InjectionSettings
    key_width: int


@dataclass(frozen=True, slots=True)
class Item:
    """One question of the meta-training split with the tokens it needs."""

    document_id: str
    document: tuple[int, ...]
    question: tuple[int, ...]
    row: Row


class Amortizer(nn.Module):
    """Compressor, question encoder, aggregator and injection, everything that meta-training trains."""

    def __init__(self, learner: Learner, settings: AmortizerSettings, seed: int) -> None:
        super().__init__()
        self.compressor = settings.compressor.build(learner, seed)
        other = settings.question_compressor
        self.question_compressor = self.compressor if other is None else other.build(learner, seed + 10)
        width, slots = self.compressor.width, self.compressor.num_slots
        self.aggregator = CrossAttention(width, settings.aggregator, seed + 20)
        self.injection = settings.injection.build(learner, slots, seed + 30)
        generator = torch.Generator().manual_seed(seed + 40)
        self.document_key = SlotKeys(slots, width, settings.key_width, generator)
        # equal at the start: a random projection keeps inner products, two different ones destroy them
        self.question_key = copy.deepcopy(self.document_key)
        self.to(learner.device)

    @property
    def num_slots(self) -> int:
        """Return the number of vectors per memory."""
        return int(self.compressor.num_slots)

    @property
    def width(self) -> int:
        """Return the size of a memory vector."""
        return int(self.compressor.width)

    def encode_documents(self, segments: Sequence[Sequence[int]]) -> Tensor:
        """Compress token sequences to memories `[docs, slots, width]`."""
        return self.compressor(segments)

    def encode_questions(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Compress tokenized prompts to states `[batch, slots, width]`."""
        return self.question_compressor(sequences)

    @torch.no_grad()
    def center(self, items: Sequence[Item]) -> None:
        """Set the biases of keys and queries so that both have mean zero over some items.

        States share a large common part; without this all cosines start near one and matching hardly gets a gradient.
        """
        for layer, encode, texts in (
            (self.document_key, self.encode_documents, [item.document for item in items]),
            (self.question_key, self.encode_questions, [item.question for item in items]),
        ):
            layer.center(encode(texts))

    def keys(self, memories: Tensor) -> Tensor:
        """Return unit-length retrieval keys `[docs, key]` of memories `[docs, slots, width]`."""
        return unit_keys(self.document_key, memories)

    def queries(self, states: Tensor) -> Tensor:
        """Return unit-length retrieval queries `[batch, key]` of question states `[batch, slots, width]`."""
        return unit_keys(self.question_key, states)


def unit_keys(projection: nn.Module, states: Tensor) -> Tensor:
    """Return `projection` of states `[batch, slots, width]` at unit length, `[batch, key]`, in float32.

    Outside autocast: a cosine is divided by a temperature down to 0.01, which makes the rounding of bfloat16 0.2 nats.
    """
    with torch.autocast(states.device.type, enabled=False):
        return F.normalize(projection(states.float()), dim=-1)


class SlotKeys(nn.Module):
    """Projects each slot by its own matrix to its share of a retrieval key.

    An inner product of two keys is then a sum over slots, with as many parameters as one matrix on the mean of the
    slots, which would blend what they hold.
    """

    def __init__(self, num_slots: int, width: int, key_width: int, generator: torch.Generator) -> None:
        """Raise UserError where the slots cannot have equal shares of the key."""
        super().__init__()
        if key_width % num_slots:
            raise UserError(
                f"method.parts.key_width={key_width} is no multiple of the {counted(num_slots, 'slot')} of a memory."
            )
        share = key_width // num_slots
        bound = width**-0.5
        weight = (torch.rand(num_slots, width, share, generator=generator) * 2 - 1) * bound
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(num_slots, share))

    @override
    def forward(self, states: Tensor) -> Tensor:
        """Return `[batch, key]` for states `[batch, slots, width]`."""
        return (torch.einsum("bsw,swk->bsk", states.to(self.weight.dtype), self.weight) + self.bias).flatten(1)

    @torch.no_grad()
    def center(self, states: Tensor) -> None:
        """Set the bias so that the outputs of some states `[n, slots, width]` have mean zero."""
        self.bias.copy_(-torch.einsum("sw,swk->sk", states.mean(dim=0).to(self.weight.dtype), self.weight))


def make_items(learner: Learner, amortizer: Amortizer, episodes: Sequence[Episode], seed: int) -> list[Item]:
    """Tokenize every question with its document; of a segmented one take a segment that holds the answer, else any."""
    rng = random.Random(seed)
    items = []
    for episode in episodes:
        segments = {d.id: amortizer.compressor.segments(d.text) for d in episode.support}
        for example in episode.query:
            document_id = example.document_ids[0]
            answer = tuple(learner.encode(example.target))
            holding = [s for s in segments[document_id] if len(segments[document_id]) == 1 or _contains(s, answer)]
            segment = rng.choice(holding or segments[document_id])
            question = amortizer.question_compressor.segments(example.prompt)[-1]
            items.append(Item(document_id, tuple(segment), tuple(question), learner.rows(example)[0]))
    if not items:
        raise UserError(
            "This method meta-trains on documents with questions, and the stream's training split has none."
        )
    return items


def _contains(ids: Sequence[int], part: Sequence[int]) -> bool:
    return any(tuple(ids[i : i + len(part)]) == tuple(part) for i in range(len(ids) - len(part) + 1))


def in_chunks(
    function: Callable[..., Tensor], size: int, *arguments: Any, process_group: ProcessGroup = SINGLE_PROCESS
) -> Tensor:
    """Apply a function to aligned slices of its arguments and join the results.

    With more than one chunk, activations are recomputed in the backward pass, so that only one chunk's are ever held;
    the gradient is the whole batch's. Each of several ranks takes a part of the rows, see `core/sharded.py`.
    """
    total = len(arguments[0])
    if process_group.world_size == 1:
        return _in_chunks(function, size, arguments)
    rows = local_slice(total, process_group)
    num = rows.stop - rows.start
    part = rows if num else slice(0, 1)  # a row that is dropped tells a rank without any the shape of the others'
    own = _in_chunks(function, size, [argument[part] for argument in arguments])[:num]
    return all_gather(own, total, process_group)


def _in_chunks(function: Callable[..., Tensor], size: int, arguments: Sequence[Any]) -> Tensor:
    total = len(arguments[0])
    if total <= size:
        return function(*arguments)
    parts = []
    for start in range(0, total, size):
        chunk = [argument[start : start + size] for argument in arguments]
        parts.append(checkpoint(function, *chunk, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(parts)


def answer_nll(learner: Learner, amortizer: Amortizer, memories: Tensor, rows: Sequence[Row]) -> Tensor:
    """Return each answer's summed negative log-likelihood in nats, `[batch]`, behind its aggregated memory."""
    batch = learner.collate(rows)
    return learner.forward(batch, prefix=amortizer.injection(memories)).token_nll.sum(dim=1)


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """A meta-training batch: memories `[docs, slots, width]`, question states `[batch, slots, width]`."""

    rows: list[Row]
    document_ids: list[str]
    documents: list[tuple[int, ...]]
    memories: Tensor
    states: Tensor
    gold: Tensor  # [batch], index of each question's document
    num_target_tokens: int


def encode_batch(
    amortizer: Amortizer, items: Sequence[Item], micro_batch_size: int, process_group: ProcessGroup = SINGLE_PROCESS
) -> EncodedBatch:
    """Encode the distinct documents and all questions of a batch."""
    documents: dict[tuple[str, tuple[int, ...]], int] = {}
    gold = [documents.setdefault((item.document_id, item.document), len(documents)) for item in items]
    names, texts = [name for name, _ in documents], [tokens for _, tokens in documents]
    questions = [item.question for item in items]
    memories = in_chunks(amortizer.encode_documents, micro_batch_size, texts, process_group=process_group)
    states = in_chunks(amortizer.encode_questions, micro_batch_size, questions, process_group=process_group)
    rows = [item.row for item in items]
    num_targets = sum(len(row.input_ids) - row.num_prompt_tokens for row in rows)
    return EncodedBatch(rows, names, texts, memories, states, torch.tensor(gold, device=memories.device), num_targets)


Recall = Callable[[Tensor, Sequence[Prompt]], tuple[Tensor | None, list[Documents]]]


class AmortizedPredictor(Predictor):
    """Answer from a memory bank: encode the questions, recall one memory each, decode behind it."""

    def __init__(
        self,
        learner: Learner,
        amortizer: Amortizer,
        recall: Recall,
        reading: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`recall` maps question states `[batch, slots, width]` to memories of the same shape (None: nothing stored).

        The language model answers inside the context `reading()`, in which a method may switch on layers of its own.
        """
        self.learner, self.amortizer, self.recall, self.reading = learner, amortizer, recall, reading

    @override
    @torch.no_grad()
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        """Answer each prompt; the answers name the documents used."""
        prefix, documents = self._prefix(prompts, decoding.batch_size)
        with self.reading():
            answers = self.learner.generate(prompts, decoding, prefix)
        return [replace(answer, documents=used) for answer, used in zip(answers, documents, strict=True)]

    @override
    @torch.no_grad()
    def loglikelihood(self, prompts: Sequence[Prompt], targets: Sequence[str]) -> list[float]:
        """Return log p(target | prompt) behind the recalled memories."""
        prefix, _ = self._prefix(prompts, len(prompts))
        with self.reading():
            return self.learner.loglikelihood(prompts, targets, prefix)

    def _prefix(self, prompts: Sequence[Prompt], batch_size: int) -> tuple[Prefix | None, list[Documents]]:
        encoder = self.amortizer.question_compressor
        tokens = [encoder.segments(prompt.text)[-1] for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: len(tokens[i]))
        memories: list[Tensor] = [torch.empty(0)] * len(prompts)
        documents: list[Documents] = [()] * len(prompts)

        def recalled(chosen: Sequence[int]) -> tuple[Sequence[int], Tensor | None, list[Documents]]:
            states = self.amortizer.encode_questions([tokens[i] for i in chosen])
            return chosen, *self.recall(states, [prompts[i] for i in chosen])

        parts, in_step = MemoryParts(), self.learner.processes.is_sharded
        for start in range(0, len(order), batch_size):
            for chosen, memory, used in parts.run(recalled, order[start : start + batch_size], in_step=in_step):
                if memory is None:
                    return None, documents
                for i, one, names in zip(chosen, memory, used, strict=True):
                    memories[i], documents[i] = one, names
        return self.amortizer.injection(torch.stack(memories)), documents
