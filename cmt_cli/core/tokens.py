"""Pure functions on token ids: windows over long texts, the prompt/target boundary, padding, batching by length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any


def start_ids(tokenizer: Any) -> list[int]:
    """Return the start token that a tokenizer puts before a text, or nothing.

    Some tokenizers define a start token and never add it (GPT-2), others define none (Qwen).
    """
    bos = tokenizer.bos_token_id
    starts = tokenizer("a", verbose=False)["input_ids"][:1]
    return [int(bos)] if bos is not None and starts == [bos] else []


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many leading tokens two sequences share."""
    for i, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return i
    return min(len(left), len(right))


def split_prompt(
    encode: Callable[[str], list[int]], text: str, targets: Sequence[str], choices: Sequence[str]
) -> tuple[list[int], list[int], list[list[int]]]:
    """Return a prompt's tokens in two parts, and for each target the tokens that follow the first part.

    The first part ends where the first of targets and choices, each tokenized together with the prompt, departs from
    the prompt's own tokens. Without choices it ends before a final space, which most tokenizers keep with
    the next word.
    """
    prompt = encode(text)
    wholes = {answer: encode(text + answer) for answer in dict.fromkeys((*targets, *choices))}
    others = list(wholes.values())
    if not choices and text.endswith(" "):
        others.append(encode(text.rstrip(" ")))
    split = min((common_length(other, prompt) for other in others), default=len(prompt))
    return prompt[:split], prompt[split:], [wholes[target][split:] for target in targets]


def longest_answers(
    encode: Callable[[str], list[int]], choices: Sequence[Sequence[str]], targets: Sequence[str]
) -> list[int]:
    """Return the tokens that the longest of each target and its choices takes, end token included.

    Every text is tokenized once, however many questions it is a choice of.
    """
    lengths = {text: len(encode(text)) + 1 for text in dict.fromkeys((*targets, *(t for own in choices for t in own)))}
    longest = {own: max((lengths[text] for text in own), default=0) for own in dict.fromkeys(map(tuple, choices))}
    return [max(lengths[target], longest[tuple(own)]) for own, target in zip(choices, targets, strict=True)]


def windows(ids: Sequence[int], *, max_tokens: int, stride: int) -> list[list[int]]:
    """Split ids into windows of at most `max_tokens` that start every `stride`; every token is in at least one."""
    if not 0 < stride <= max_tokens:
        raise ValueError(f"stride must lie in 1..max_tokens, got stride={stride} with max_tokens={max_tokens}.")
    starts = range(0, max(1, len(ids) - max_tokens + stride), stride)
    return [list(ids[start : start + max_tokens]) for start in starts]


def text_windows(ids: Sequence[int], *, start: Sequence[int], max_tokens: int) -> list[tuple[list[int], int]]:
    """Split a text into consecutive windows for language modelling; return each with its number of context tokens.

    The context of a window is `start` (a start token) or, where there is none, the token before the window, so that
    every token but a text's very first is scored exactly once.
    """
    room = max_tokens - 1
    pieces = []
    for first in range(0, len(ids), room):
        context = list(start) or list(ids[max(first - 1, 0) : first])
        pieces.append(([*context, *ids[first : first + room]], len(context)))
    return pieces


def cut_middle(start: Sequence[int], ids: Sequence[int], max_tokens: int, end: Sequence[int] = ()) -> list[int]:
    """Return `start`, `ids` without the middle that does not fit into `max_tokens` with the other two, and `end`.

    Instructions stand at the front and questions at the end, so that the middle is left out, as LongBench does (Bai et
    al. 2023, arXiv 2308.14508). One token of `ids` is kept in any case.
    """
    room = max(max_tokens - len(start) - len(end), 1)
    if len(ids) <= room:
        return [*start, *ids, *end]
    front = room // 2
    return [*start, *ids[:front], *ids[len(ids) - (room - front) :], *end]


def left_padded(sequences: Sequence[Sequence[int]], pad_id: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return ids and mask, both `[batch, seq]`, padded on the left to the longest sequence."""
    length = max(len(ids) for ids in sequences)
    ids = [[pad_id] * (length - len(row)) + list(row) for row in sequences]
    mask = [[0] * (length - len(row)) + [1] * len(row) for row in sequences]
    return ids, mask


def length_batches(lengths: Sequence[int], *, max_tokens: int) -> Iterator[list[int]]:
    """Yield indices of like lengths, shortest first; each batch pads to at most `max_tokens` tokens or is one item."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and lengths[i] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def like_lengths(lengths: Sequence[int], *, max_items: int, num_new: int) -> Iterator[list[int]]:
    """Yield indices of at most `max_items` prompts of like lengths, shortest first, to be continued together.

    With the `num_new` tokens to come the shortest of a batch is at least half as long as the longest, so that no more
    is padded than read.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) == max_items or 2 * (lengths[batch[0]] + num_new) < lengths[i] + num_new):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
