"""Questions of the meta-training split with their documents, and batches of them, whose documents are the bank.

Shapes: batch (questions), docs, slots, width.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cmt_cli.core.batch import Row
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.process_group import SINGLE_PROCESS, ProcessGroup
from cmt_cli.core.sharded import all_gather, local_slice
from cmt_cli.core.stream import Episode
from cmt_cli.methods.amortized.amortizer import Amortizer, Item


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
