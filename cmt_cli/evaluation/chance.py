"""What is scored on a task's tests without any knowledge: above this level a score shows that something was learned.

It is the share of the most frequent answer or, if that is more, what a guess among each question's choices scores, as
in a multiple choice whose answers all differ; for the F1 of words it is a lower bound. A score is above chance where it
exceeds the share c by `Z` standard errors sqrt(c (1 - c) / n) of n questions: a one-sided test at 5 %, by the normal
approximation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cmt_cli.core.stream import Example, TestSet
from cmt_cli.evaluation.answer_metrics import as_label
from cmt_cli.evaluation.scorer import references_of

Z = 1.645
SCORES = ("em", "em_prefix", "f1", "f1_shortest", "accuracy", "accuracy_generated", "first_choice")


@dataclass(frozen=True, slots=True)
class Chance:
    """The score of the best constant answer, or of guesses, to so many questions."""

    score: float
    num_questions: int

    def is_below(self, score: float) -> bool:
        """Return whether a score is above chance."""
        return score > self.score + Z * math.sqrt(self.score * (1 - self.score) / self.num_questions)


def chance(tests: Sequence[TestSet], task: int, metric: str | None) -> Chance | None:
    """Return the chance of a task's tests by a metric, or by each test's own (None); None where it has none."""
    own = [test for test in tests if test.learned_at == task]
    if not own or any((metric or test.metric) not in SCORES for test in own):
        return None
    shares = [max(_share([references_of(e) for e in test.examples]), _guessed(test.examples)) for test in own]
    return Chance(sum(shares) / len(shares), sum(len(test.examples) for test in own))


def _share(accepted: Sequence[Collection[str]]) -> float:
    """Return the largest share of questions that accept one and the same answer."""
    counts = Counter(answer for answers in accepted for answer in {as_label(text) for text in answers})
    return max(counts.values(), default=0) / max(1, len(accepted))


def _guessed(examples: Sequence[Example]) -> float:
    """Return the expected score of a choice drawn evenly; 0 for questions without choices."""
    return sum(1 / len(example.choices) for example in examples if example.choices) / max(1, len(examples))
