"""Online fine-tuning on salient spans only: tokens of named entities and dates count, all others have weight 0.

Salient-span masking of Guu et al. 2020 (REALM, arXiv 2002.08909), as the token-weighted baseline of CaMeLS (Hu et al.
2023, arXiv 2305.15076):
    loss = 1/N sum over the document's N tokens of w_t * nll_t
    w_t = 1 if a character of token t lies in a span, else 0
The mean counts the zero-weighted tokens too, as in the released code; unlike there, it counts no padding.
Deviations: `tagger: rules` (below) by default, because a fresh machine has no entity model; `tagger: spacy` is the
paper's `en_core_web_sm` without the numeric kinds. On SQuAD's dev paragraphs the rules mark 16 % of the characters and
touch 51 % of the first answers. Otherwise as `methods/sequential/uniform.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Budget, Fit
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Example, Task
from cmt_cli.training.schedules import check_budget

Spans = list[tuple[int, int]]  # [start, end) in characters
Tagger = Callable[[str], Spans]

_CAPITAL = "[A-ZÀ-ÖØ-Þ]"
_CAPITALIZED = rf"(?:(?:{_CAPITAL}\.){{2,}}|{_CAPITAL}\.(?= {_CAPITAL})|{_CAPITAL}[\w'-]*)"  # U.S., J. or a word
_NAME = re.compile(rf"\b{_CAPITALIZED}(?: (?:(?:of|the|de|la|van|von|der|al) ){{0,2}}{_CAPITALIZED})*")
_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DATES = re.compile(
    rf"\b\d{{4}}-\d{{2}}-\d{{2}}\b|\b\d{{1,2}}(?:st|nd|rd|th)? {_MONTH}(?: \d{{4}})?\b"
    rf"|\b{_MONTH} \d{{1,2}}(?:, \d{{4}})?\b|\b[12]\d{{3}}s?\b"
)
_COMMON = frozenset(
    "A After Although An And As At Because Before But By During For From He Her Here His How However I If In It Its "
    "Many More Most My No Not Of On One Or Our She Since So Some That The Their Then There These They This Those To "
    "Under Until We What When Where Which While Who Why With You Your".split()
)
_IGNORED_KINDS = frozenset("TIME PERCENT MONEY QUANTITY ORDINAL CARDINAL".split())  # as in the released code


TAGGERS = ("rules", "spacy")


class SalientSpans(Method):
    """Fine-tunes all weights on the entities and dates of each document."""

    needs_documents = True

    def __init__(self, *, budget: Budget, tagger: str) -> None:
        """`budget` is spent on each task's documents; `tagger` is one of `TAGGERS`."""
        self._budget = check_budget(budget, "method.budget")
        self._tagger = _tagger(tagger)
        self._weights: dict[str, list[tuple[tuple[int, ...], list[float]]]] = {}

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        """Find the task's salient spans once, then train on its documents."""
        self._weights = {example.id: row_weights(learner, example, self._tagger) for example in task.train}
        fit.on_examples(task.train, self._budget)

    @override
    def token_weights(self, learner: Learner, batch: Batch, outputs: Outputs) -> Tensor:
        """Return 1 inside salient spans and 0 outside; rows of other origin (replay) have ones."""
        weights = torch.ones(batch.input_ids.shape)
        for i, name in enumerate(batch.ids):
            found = self._weights.get(name, [])
            if len(found) > 1:  # a long document is several rows of the same id
                length = int(batch.attention_mask[i].sum())
                tokens = tuple(batch.input_ids[i, :length].tolist())
                found = [pair for pair in found if pair[0] == tokens]
            if found:
                weights[i, : len(found[0][1])] = torch.tensor(found[0][1])
        return weights.to(batch.input_ids.device)


def row_weights(learner: Learner, example: Example, tagger: Tagger) -> list[tuple[tuple[int, ...], list[float]]]:
    """Return each row of an example with a weight per token; the end token and the prompt have 0."""
    encoded = learner.tokenizer(example.target, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    flat = overlaps(encoded["offset_mapping"], tagger(example.target))
    rows, start = [], 0
    for row in learner.rows(example):
        num_targets = len(row.input_ids) - row.num_prompt_tokens
        scored = flat[start : start + num_targets]
        start += num_targets
        weights = [0.0] * row.num_prompt_tokens + scored + [0.0] * (num_targets - len(scored))
        rows.append((row.input_ids, weights))
    return rows


def overlaps(offsets: Sequence[tuple[int, int]], spans: Spans) -> list[float]:
    """Return 1.0 for each token `[start, end)` that shares a character with a span, else 0.0."""
    return [float(any(start < stop and first < end for first, stop in spans)) for start, end in offsets]


def rule_spans(text: str) -> Spans:
    """Return the spans of names and dates in a text, in order.

    A name is a run of capitalized words. The first word of a sentence counts if another name word follows it or if it
    is capitalized elsewhere in mid-sentence, and never if it is a common function word. Dates are ISO dates, days of
    months and years; other numbers do not count.
    """
    matches = [_trimmed(match) for match in _NAME.finditer(text)]
    names = [(start, end) for start, end in matches if start < end]
    opening = [_opens_sentence(text, start) for start, _ in names]
    inside = {word for (a, b), opens in zip(names, opening, strict=True) if not opens for word in text[a:b].split()}
    kept = [
        (start, end)
        for (start, end), opens in zip(names, opening, strict=True)
        if not opens or " " in text[start:end] or text[start:end] in inside
    ]
    return sorted({*kept, *(match.span() for match in _DATES.finditer(text))})


def _opens_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip("\"'([\N{LEFT DOUBLE QUOTATION MARK}")
    rest = before.rstrip()
    ending = rest.rstrip("\"')]\N{RIGHT DOUBLE QUOTATION MARK}")[-1:]
    return not rest or before.endswith("\n") or (rest != before and ending in ".!?:")


def _trimmed(match: re.Match[str]) -> tuple[int, int]:
    """Return a match's span without the function words it begins with; an empty span if it has no others."""
    for word in re.finditer(r"\S+", match.group()):
        if word.group() not in _COMMON and not word.group().islower():
            return match.start() + word.start(), match.end()
    return match.end(), match.end()


def spacy_spans(model: Any, text: str) -> Spans:
    """Return the spans that a spaCy pipeline tags as entities, without the numeric kinds."""
    return [(e.start_char, e.end_char) for e in model(text).ents if e.label_ not in _IGNORED_KINDS]


def _tagger(name: str) -> Tagger:
    if one_of(name, TAGGERS, "method.tagger") == "rules":
        return rule_spans
    try:
        import spacy
    except ImportError as error:
        raise UserError("method.tagger=spacy needs the extra 'spacy': pip install 'cmt-cli[spacy]'.") from error
    if not spacy.util.is_package("en_core_web_sm"):
        raise UserError("method.tagger=spacy needs its English model: python -m spacy download en_core_web_sm.")
    model = spacy.load("en_core_web_sm")
    return lambda text: spacy_spans(model, text)
