"""Batched decoding with a key/value cache: greedy by default, diverse beams as the papers' setting, top-k sampling.

Prompts are left-padded and masked, and positions count real tokens only, so that a row's tokens do not depend on the
rows beside it. Rows that have ended leave the batch once they are half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cmt_cli.core import key_values
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.prefix import Prefix, model_inputs
from cmt_cli.core.stream import AnswerForm

# Chooses the next tokens `[rows]` from logits `[rows, vocab]`, the rows' numbers in the batch `[rows]` and the step.
Choose = Callable[[Tensor, Tensor, int], Tensor]
# Says whether a row, given by its number in the batch, needs no tokens behind these.
Suffices = Callable[[int, list[int]], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How answers are generated. One beam is greedy; `num_beam_groups` > 1 is diverse beam search.

    `batch_size` counts prompts, each of which takes `num_beams` rows. An answer ends before the first `stop_text`
    (answers of one line: a newline); None keeps all that was generated.
    """

    max_new_tokens: int
    batch_size: int
    num_beams: int
    num_beam_groups: int
    diversity_penalty: float
    stop_text: str | None = None

    def __post_init__(self) -> None:
        """Refuse sizes that cannot work."""
        sizes = (self.max_new_tokens, self.batch_size, self.num_beams, self.num_beam_groups)
        if min(sizes) < 1 or self.num_beams % self.num_beam_groups:
            raise UserError(
                "evaluator.decoding: max_new_tokens, batch_size, num_beams and num_beam_groups must be at least 1, and "
                f"num_beams a multiple of num_beam_groups; got {', '.join(map(str, sizes))}."
            )

    def for_answers(self, form: AnswerForm) -> Decoding:
        """Return the decoding of answers of this form: long enough, and without stop text where they have lines."""
        return replace(
            self,
            max_new_tokens=max(self.max_new_tokens, form.max_new_tokens or 0),
            stop_text=self.stop_text if form.is_one_line else None,
        )

    def clean(self, text: str) -> str:
        """Return generated text up to the stop text, without surrounding white space."""
        stripped = text.strip()
        return stripped if self.stop_text is None else stripped.split(self.stop_text, 1)[0].strip()

    def has_ended(self, text: str, num_tokens: int) -> bool:
        """Return whether the end token or the stop text closes what was generated, rather than the last step.

        `num_tokens` are those before the end token; `text`, their text, may begin with stop texts, as in `clean`.
        """
        return num_tokens < self.max_new_tokens or (self.stop_text is not None and self.stop_text in text.lstrip())


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """The tokens of a prompt to be answered, the text at its end that the answer begins with, and how it is decoded."""

    ids: list[int]
    rest: str
    decoding: Decoding
    is_running_text: bool = False
    until: tuple[str, ...] = ()

    def suffices(self, text: str) -> bool:
        """Return whether an answer needs no text behind this."""
        return any(stop in text for stop in self.until)


def decode(
    model: Any,
    input_ids: Tensor,
    mask: Tensor,
    prefix: Prefix | None,
    decoding: Decoding,
    end_ids: Sequence[int],
    suffices: Suffices | None = None,
) -> list[list[int]]:
    """Continue left-padded prompts `[batch, seq]`; return the new tokens of each row, without the end token.

    Each of `end_ids` ends a row. One whose tokens suffice may end there, which beams do not look at.
    """
    if decoding.num_beams > 1:
        from cmt_cli.core.beam_search import diverse_beams

        return diverse_beams(model, input_ids, mask, prefix, decoding, end_ids)
    inputs = model_inputs(model, input_ids, mask, prefix)
    return continued(model, inputs, decoding.max_new_tokens, end_ids=end_ids, choose=_likeliest, suffices=suffices)


def _likeliest(logits: Tensor, rows: Tensor, step: int) -> Tensor:
    return logits.argmax(dim=-1)


def top_k_choice(uniforms: Tensor, top_k: int) -> Choose:
    """Return a choice that draws from the `top_k` likeliest tokens, by their probabilities among each other.

    `uniforms` `[batch, steps]` holds one number of [0, 1) for each token to draw. A row's tokens depend on its own
    numbers alone, so that the rows beside it do not change them.
    """

    def choose(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        # In the order of the vocabulary: two tokens that are all but equally likely may come from `topk` in any.
        tokens = logits.topk(min(top_k, logits.shape[-1]), dim=-1).indices.sort(dim=-1).values
        shares = logits.gather(-1, tokens).float().softmax(dim=-1).cumsum(dim=-1)
        number = (shares <= uniforms[rows, step, None].to(shares)).sum(dim=-1, keepdim=True)
        return tokens.gather(-1, number.clamp(max=tokens.shape[-1] - 1)).squeeze(-1)

    return choose


def continued(
    model: Any,
    inputs: Mapping[str, Any],
    max_new_tokens: int,
    *,
    end_ids: Sequence[int],
    choose: Choose,
    suffices: Suffices | None = None,
) -> list[list[int]]:
    """Continue left-padded prompts, given as the `model_inputs` of a first pass, by the tokens that `choose` takes.

    Stops when every row has ended or `suffices`; returns the new tokens of each row, without the end token. Each of
    `end_ids` ends a row: chat models have one for the end of a turn beside that of a text.
    """
    eos_id = end_ids[0]
    out = model(**inputs, use_cache=True, logits_to_keep=1)
    mask, position, cache = inputs["attention_mask"], inputs["position_ids"][:, -1:], key_values.returned(out)
    running = torch.arange(len(mask), device=mask.device)  # index of each row that is still decoded
    tokens = torch.full((len(mask), max_new_tokens), eos_id, device=mask.device)
    satisfied = torch.zeros(len(mask), dtype=torch.bool, device=mask.device)
    for step in range(max_new_tokens):
        chosen = ended_alike(choose(out.logits[:, -1], running, step), end_ids)
        # Rows that have ended but not left the batch are decoded on; `until` cuts what they say.
        tokens[running, step] = chosen
        open_rows = (tokens[running, : step + 1] != eos_id).all(dim=1)
        if suffices is not None:
            for row in running[open_rows & ~satisfied[running]].tolist():
                satisfied[row] = suffices(row, tokens[row, : step + 1].tolist())
            open_rows &= ~satisfied[running]
        num_open = int(open_rows.sum())
        if num_open == 0 or step + 1 == max_new_tokens:
            break
        if 2 * num_open <= len(running):
            kept = open_rows.nonzero().squeeze(1)
            key_values.select(cache, kept)
            running, chosen, mask, position = running[kept], chosen[kept], mask[kept], position[kept]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        position = position + 1
        out = model(
            input_ids=chosen[:, None],
            attention_mask=mask,
            position_ids=position,
            use_cache=True,
            **key_values.given(model, cache),
        )
    return [until(row, eos_id) for row in tokens.tolist()]


def listed_end_ids(model: Any) -> list[int]:
    """Return the tokens that end a text by the model's generation settings, such as the end of a turn."""
    settings = model.generation_config  # None where transformers' own `generate` cannot run the model
    known = settings.eos_token_id if settings is not None else None
    listed = known if isinstance(known, list) else [known]
    return [int(i) for i in listed if i is not None]


def ended_alike(tokens: Tensor, end_ids: Sequence[int]) -> Tensor:
    """Return tokens with the first of `end_ids` in place of each of them."""
    for end_id in end_ids[1:]:
        tokens = tokens.masked_fill(tokens == end_id, end_ids[0])
    return tokens


def until(ids: list[int], eos_id: int) -> list[int]:
    """Return the tokens before the first end token."""
    return ids[: ids.index(eos_id)] if eos_id in ids else ids
