"""BLEU and chrF of a whole test set by sacrebleu (Post 2018, arXiv 1804.08771), as fractions.

Both are of corpora: n-grams are counted over all examples before they are divided, so neither is a mean over examples.
BLEU is cased, with exponential smoothing; chrF is of characters (order 6, beta 2). BLEU's tokens are those of 13a,
which splits no script without spaces: where the references are Chinese they are sacrebleu's `zh`, and characters
(`char`) where they are Japanese, Thai, Lao, Burmese or Khmer (`ja-mecab` and `flores200` need downloads, and a number
must not depend on these being there). Where all references are shorter than four tokens BLEU takes the effective order,
since an exact answer has no 4-grams and would score 0. The signature tells both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from cmt_cli.evaluation.unspaced import unspaced

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric
    from sacrebleu.metrics.bleu import BLEU

NUM_ORDERS = 4  # of the n-grams of BLEU


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return BLEU; `references` are those of each prediction, at least one."""
    return _corpus(_bleu(references), predictions, references)


def chrf(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return chrF2; `references` are those of each prediction, at least one."""
    return _corpus(_chrf(), predictions, references)


def signatures(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return sacrebleu's signature of each score: what a number must be quoted with."""
    found = {}
    for name, metric in (("bleu", _bleu(references)), ("chrf", _chrf())):
        _corpus(metric, predictions, references)  # the signature tells the number of references
        found[name] = str(metric.get_signature())
    return found


def _bleu(references: Sequence[Sequence[str]]) -> Metric:
    texts = [text for accepted in references for text in accepted]
    tokens = unspaced(texts) or "13a"
    is_short = max(len(_made_bleu(tokens, False).tokenizer(text).split()) for text in texts) < NUM_ORDERS
    return _made_bleu(tokens, is_short)


@cache
def _made_bleu(tokens: str, has_effective_order: bool) -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokens, effective_order=has_effective_order)


@cache
def _chrf() -> Metric:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _corpus(metric: Metric, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    num = max(len(texts) for texts in references)
    # sacrebleu's annotation forgets that None stands for a reference that an example does not have.
    columns = [[texts[i] if i < len(texts) else None for texts in references] for i in range(num)]
    score = metric.corpus_score(list(predictions), columns).score  # type: ignore[arg-type]
    return min(1.0, score / 100)
