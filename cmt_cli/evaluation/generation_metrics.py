"""Scores of one generated text against its references, for answers longer than a few words; all fractions.

    rouge_l          F1 of the longest common subsequence of words: P = lcs / |prediction|, R = lcs / |reference|
                     (Lin 2004); words are runs of letters, with their marks, and digits in lower case,
                     stemmed (Porter 1980) where they have more than three letters, by the package rouge-score, which
                     published numbers are made with
    rouge_l_summary  F1 of the words that the longest common subsequences of any two sentences have, as sets: neither
                     how often nor where a word stands counts; sentences end at full stops, words at white space (the
                     package rouge, which TRACE scores MeetingBank with)
    edit_similarity  2 lcs / (|prediction| + |reference|) over characters, TRACE's measure of code completion (Wang et
                     al. 2023, arXiv 2310.06762), there rounded to whole percents; 0 where either is empty, as there
    sari             mean of the F1 of added, the F1 of kept and the precision of deleted n-grams, n = 1..4 (Xu et al.
                     2016), on lower-cased words of sacrebleu's 13a; conventions of Hugging Face's `evaluate`: 0/0 is 1,
                     and the recall of kept n-grams is a share of their sum

With several references the first three take the best; SARI counts n-grams over all of them.
Deviation: rouge-score drops all letters but a to z. Words with others are kept whole here, and characters of Chinese,
Japanese, Thai, Lao, Burmese and Khmer are words; text in ASCII has rouge-score's numbers with `use_stemmer=True`.
Subsequences are found by RapidFuzz, 30 times faster at 200 words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from cmt_cli.evaluation.unspaced import apart, unspaced

_MAX_N = 4
_MARKS_UNTIL = 0x1E94F  # behind the last combining mark of a script


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """Return the largest F1 of the longest common subsequence of words over the references."""
    return max(_lcs_f1(words(prediction), words(reference)) for reference in references)


def rouge_signature(references: Iterable[str]) -> str:
    """Return what ROUGE-L must be quoted with: stemmer, tokens of most references, version."""
    tokens = "char" if unspaced(references) else "word"
    return f"stem:porter|tok:{tokens}|rouge-score:{version('rouge-score')}"


def words(text: str) -> list[str]:
    """Return the runs of letters, with their marks, and digits of a text, in lower case and stemmed."""
    return [_stemmed(word) if word.isascii() else word for word in _word().findall(apart(text.lower()))]


@cache
def _word() -> re.Pattern[str]:
    # Vowels of Indic scripts, Thai tones and split accents are combining marks, which `\w` leaves out.
    characters = map(chr, range(0x300, _MARKS_UNTIL))
    marks = "".join(character for character in characters if unicodedata.category(character).startswith("M"))
    return re.compile(rf"(?:[^\W_]|[{marks}])+")


@lru_cache(maxsize=100_000)
def _stemmed(word: str) -> str:
    stem: str = " ".join(_rouge_tokenizer().tokenize(word))
    return stem


@cache
def _rouge_tokenizer() -> Any:
    from rouge_score.tokenizers import DefaultTokenizer

    return DefaultTokenizer(use_stemmer=True)


def rouge_l_summary(prediction: str, references: Sequence[str]) -> float:
    """Return the largest F1 of the words in common subsequences of sentences over the references."""
    return max(_summary_f1(_sentences(prediction), _sentences(reference)) for reference in references)


def _sentences(text: str) -> list[list[str]]:
    """Return the words of each sentence; blanks between full stops are a sentence of one empty word, as in `rouge`."""
    return [sentence.split() or [""] for sentence in text.split(".") if sentence]


def _summary_f1(prediction: Sequence[Sequence[str]], reference: Sequence[Sequence[str]]) -> float:
    said, wanted = ({word for sentence in sentences for word in sentence} for sentences in (prediction, reference))
    common = {word for ours in prediction for theirs in reference for word in _common_subsequence(ours, theirs)}
    return 2 * len(common) / (len(said) + len(wanted)) if common else 0.0


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return a longest common subsequence; of several the one that `rouge` finds, read from the end of `first`."""
    lengths = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, word in enumerate(first):
        for j, other in enumerate(second):
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if word == other else max(lengths[i][j + 1], lengths[i + 1][j])
    found, i, j = [], len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
            found.append(first[i])
        elif lengths[i - 1][j] > lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return found


def edit_similarity(prediction: str, references: Sequence[str]) -> float:
    """Return the largest share of characters, of both texts, that a longest common subsequence keeps."""
    return max(_lcs_f1(prediction, reference) for reference in references)


def _lcs_f1(prediction: Sequence[str], reference: Sequence[str]) -> float:
    from rapidfuzz.distance import LCSseq

    if not prediction or not reference:
        return 0.0
    return 2 * LCSseq.similarity(prediction, reference) / (len(prediction) + len(reference))


def sari(source: str, prediction: str, references: Sequence[str]) -> float:
    """Return how well a rewritten source adds, keeps and deletes what the references do."""
    parts = [sari_parts(*grams) for grams in zip(*_ngrams_by_n(source, prediction, references), strict=True)]
    return sum(sum(part) / 3 for part in parts) / len(parts)


def sari_parts(
    source: Counter[str], prediction: Counter[str], references: Sequence[Counter[str]]
) -> tuple[float, float, float]:
    """Return F1 of additions, F1 of kept and precision of deleted n-grams of one length.

    Counts of source and prediction are multiplied by the number of references, whose counts are summed, so that an
    n-gram which only some of the references keep is kept rightly by that share.
    """
    wanted = sum(references, Counter[str]())
    given = _times(source, len(references))
    said = _times(prediction, len(references))
    added, to_add = set(said) - set(given), set(wanted) - set(given)
    add = _f1(_ratio(len(added & to_add), len(added)), _ratio(len(added & to_add), len(to_add)))
    kept, to_keep = given & said, given & wanted
    right = kept & wanted
    precision = _ratio(sum(count / kept[gram] for gram, count in right.items()), len(kept))
    keep = _f1(precision, _ratio(right.total(), to_keep.total()))
    deleted = given - said
    delete = _ratio(sum(count / deleted[gram] for gram, count in (deleted - wanted).items()), len(deleted))
    return add, keep, delete


def _ngrams_by_n(
    source: str, prediction: str, references: Sequence[str]
) -> tuple[list[Counter[str]], list[Counter[str]], list[list[Counter[str]]]]:
    by_n = [[_ngrams(_tokens(reference), n) for reference in references] for n in range(1, _MAX_N + 1)]
    source_tokens, said = _tokens(source), _tokens(prediction)
    lengths = range(1, _MAX_N + 1)
    return [_ngrams(source_tokens, n) for n in lengths], [_ngrams(said, n) for n in lengths], by_n


def _tokens(text: str) -> list[str]:
    return _tokenizer()(text.lower()).split()


@cache
def _tokenizer() -> Callable[[str], str]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenizer: Callable[[str], str] = Tokenizer13a()  # type: ignore[no-untyped-call]
    return tokenizer


def _ngrams(tokens: Sequence[str], n: int) -> Counter[str]:
    return Counter(" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _times(counts: Counter[str], factor: int) -> Counter[str]:
    return Counter({gram: count * factor for gram, count in counts.items()})


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
