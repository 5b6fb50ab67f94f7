"""One row of the score matrix: a predictor answers the examples of all test sets and is scored.

The predictor sees `Prompt`s, which carry no target. Batches run across test sets, examples of like length together.
Ranks take whole batches in turn and gather the answers: neither a batch nor an answer depends on the world size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cmt_cli.core.batch import Predictor
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import Interrupted, UserError, counted, nearest
from cmt_cli.core.learner import Learner
from cmt_cli.core.process_group import SINGLE_PROCESS, ProcessGroup
from cmt_cli.core.result import SEEN
from cmt_cli.core.stream import Answer, Example, Prompt, TestSet
from cmt_cli.evaluation.changing_facts import CHANGE_SCORES, about_change
from cmt_cli.evaluation.label_sets import ScoredTest, choices, labels_until, own_labels, seen_scores
from cmt_cli.evaluation.metric_scorers import RECALLS, recall, scorer_of
from cmt_cli.evaluation.scorer import Pair, Scorer, Scores, means, references_of
from cmt_cli.evaluation.span_metrics import LabelSpace

ROWS = ("all", "lower", "last")


@dataclass(frozen=True, slots=True)
class TestScore:
    """The scores of one test set, and its predictions as JSON-ready records; scores are None where it was skipped.

    `signatures` are what scores must be quoted with, by score. A TestScore named SEEN is no test set: it holds the
    scores of a row over the tests of all tasks learned so far, named `<metric>_seen`, and no predictions.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    test: str
    scores: Scores
    predictions: list[dict[str, Any]]
    signatures: dict[str, str] = field(default_factory=dict)


class Evaluator:
    """Scores a predictor on test sets."""

    def __init__(
        self, *, decoding: Decoding, rows: str, max_examples_per_test: int | None, every_steps: int | None = None
    ) -> None:
        """Take how answers are generated and which cells of the score matrix are filled.

        `rows` is "all", "lower" (tests of tasks that have been learned, and general probes) or "last" (the row after
        the last task only). `max_examples_per_test` takes evenly spaced examples of larger test sets.
        `every_steps` asks the run to evaluate inside a task too, each time after so many optimizer steps.
        """
        if rows not in ROWS:
            raise UserError(f"evaluator.rows={rows} is not one of {', '.join(ROWS)}.{nearest(rows, ROWS)}")
        if max_examples_per_test is not None and max_examples_per_test < 1:
            raise UserError(f"evaluator.max_examples_per_test={max_examples_per_test} must be at least 1, or null.")
        if every_steps is not None and every_steps < 1:
            raise UserError(f"evaluator.every_steps={every_steps} must be at least 1, or null for none inside a task.")
        self.decoding = decoding
        self.rows = rows
        self.max_examples_per_test = max_examples_per_test
        self.every_steps = every_steps

    def evaluate(
        self,
        predictor: Predictor,
        tests: Sequence[TestSet],
        *,
        row: int,
        progress: Callable[[str, int, int], None],
        stop_requested: Callable[[], bool],
        processes: ProcessGroup = SINGLE_PROCESS,
    ) -> list[TestScore]:
        """Return one TestScore for each test set, in order; row 0 is before the first task.

        Where test sets are about the labels seen so far, one more comes last, SEEN. Raises Interrupted where
        `stop_requested()`, agreed on by all ranks, is true between two batches. Each rank gets all scores.
        """
        chosen = [(test, self._examples(test)) for test in tests if self._in_row(test, tests, row)]
        questions = [
            _Question(test, example, _prompt(test, example, row), decoding)
            for test, part in chosen
            for decoding in [self._decoding(test, part)]
            for example in part
        ]
        answers = self._answer(predictor, questions, progress, stop_requested, processes)
        by_test: dict[str, list[Pair]] = {test.name: [] for test in tests}
        for question, answer in zip(questions, answers, strict=True):
            by_test[question.test.name].append((question.example, answer))
        scored = [_scored(test, by_test[test.name]) for test in tests]
        found = [_test_score(part) for part in scored]
        seen = seen_scores(scored, row)
        return [*found, TestScore(SEEN, seen, [])] if seen else found

    def note(self, tests: Sequence[TestSet]) -> str:
        """Return what a reader of the scores must know: that not every example of these tests is evaluated."""
        limit, sizes = self.max_examples_per_test, [len(test.examples) for test in tests]
        if limit is None or max(sizes, default=0) <= limit:
            return ""
        evaluated = sum(min(size, limit) for size in sizes)
        return (
            f"evaluated are {evaluated} of {sum(sizes)} test examples, at most {limit} of each test set, evenly spaced"
        )

    def check_lengths(self, learner: Learner, tests: Sequence[TestSet]) -> str:
        """Return a note on gold answers of more tokens than are generated, "" where there are none.

        Choices are not counted: as many tokens are generated as they take. Raises UserError where the answers to a test
        leave no room for a prompt.
        """
        too_long: dict[int, list[bool]] = {}
        for test in tests:
            if "eos_rate" not in scorer_of(test.metric).names:  # nothing is generated
                continue
            learner.refuse_no_room(self.decoding.for_answers(test.answers))
            examples = self._examples(test)
            most = self._decoding(test, examples).max_new_tokens
            for example in examples:
                fits = {choice.strip() for choice in _prompt(test, example, 0).choices}
                gold = [text for text in references_of(example) if text.strip() not in fits]
                too_long.setdefault(most, []).extend(len(learner.encode(f" {text}")) > most for text in gold)
        return "; ".join(
            f"{sum(found)} of {counted(len(found), 'gold answer')} {'is' if sum(found) == 1 else 'are'} longer than "
            f"max_new_tokens={most} and cannot be produced"
            for most, found in sorted(too_long.items())
            if any(found)
        )

    def _decoding(self, test: TestSet, examples: Sequence[Example]) -> Decoding:
        """Return how the questions of a test are answered; the stop text ends none where some gold answer holds it.

        That is a fact of the test set, so that nothing about a question's own answer shows in how it is decoded.
        """
        stop, form = self.decoding.stop_text, test.answers
        if stop is not None and any(stop in t.strip() for e in examples for t in (e.target, *e.references)):
            form = replace(form, is_one_line=False)
        return self.decoding.for_answers(form)

    def _answer(
        self,
        predictor: Predictor,
        questions: Sequence[_Question],
        progress: Callable[[str, int, int], None],
        stop_requested: Callable[[], bool],
        processes: ProcessGroup,
    ) -> list[Answer]:
        divided = SINGLE_PROCESS if processes.is_sharded else processes
        answers: list[Answer] = [Answer("")] * len(questions)
        batches = self._batches(questions)
        done = 0
        for start in range(0, len(batches), divided.world_size):
            if stop_requested():
                raise Interrupted("while answering questions")
            together = batches[start : start + divided.world_size]
            own: list[Answer] = []
            if divided.rank < len(together):
                scorer, decoding, chosen = together[divided.rank]
                own = scorer.answer(predictor, [questions[i].prompt for i in chosen], decoding)
            found = divided.gather(own)[: len(together)]  # the ranks behind them had no batch
            for (_, _, chosen), given in zip(together, found, strict=True):
                for i, answer in zip(chosen, given, strict=True):
                    answers[i] = answer
                done += len(chosen)
            progress("answering questions", done, len(questions))
        return answers

    def _batches(self, questions: Sequence[_Question]) -> list[tuple[Scorer, Decoding, list[int]]]:
        """Return the numbers of the questions that are answered together, with their scorer and decoding."""
        groups: dict[tuple[Scorer, Decoding], list[int]] = {}
        for i, question in enumerate(questions):
            groups.setdefault((scorer_of(question.test.metric), question.decoding), []).append(i)
        found = []
        for (scorer, decoding), members in groups.items():
            order = sorted(members, key=lambda i: len(questions[i].prompt.text))
            size = decoding.batch_size
            found += [(scorer, decoding, order[start : start + size]) for start in range(0, len(order), size)]
        return found

    def _in_row(self, test: TestSet, tests: Sequence[TestSet], row: int) -> bool:
        learned = [t.learned_at for t in tests if t.learned_at is not None]
        if self.rows == "all" or not learned:
            return True
        if self.rows == "last":
            return row > max(learned)
        return test.learned_at is None or test.learned_at < row

    def _examples(self, test: TestSet) -> Sequence[Example]:
        total, limit = len(test.examples), self.max_examples_per_test
        if limit is None or total <= limit:
            return test.examples
        return [test.examples[i * total // limit] for i in range(limit)]


@dataclass(frozen=True, slots=True)
class _Question:
    test: TestSet
    example: Example
    prompt: Prompt
    decoding: Decoding


def _prompt(test: TestSet, example: Example, row: int) -> Prompt:
    task = test.learned_at if test.gives_task else None
    allowed = choices(test, example, row) if scorer_of(test.metric).labels_are_choices else example.choices
    return Prompt(example.id, example.prompt, allowed, example.document_ids, task)


def _scored(test: TestSet, pairs: list[Pair]) -> ScoredTest:
    scorer = scorer_of(test.metric)
    scores = [{**scorer.score(*pair), **about_change(*pair)} for pair in pairs]
    if any(answer.documents for _, answer in pairs):  # a predictor that never returns documents has no recall
        scores = [{**score, **recall(*pair)} for score, pair in zip(scores, pairs, strict=True)]
    return ScoredTest(test, scorer, pairs, scores)


def _test_score(part: ScoredTest) -> TestScore:
    test, scorer = part.test, part.scorer
    if not part.pairs:
        return TestScore(test.name, dict.fromkeys((*scorer.names, *RECALLS)), [])
    labels = LabelSpace.of(own_labels(test), labels_until(test.labels_by_task, len(test.labels_by_task)))
    total = scorer.total(part.pairs, part.scores, labels) | means(part.scores, RECALLS)
    if any(example.change for example, _ in part.pairs):
        total |= means(part.scores, CHANGE_SCORES)
    records = [_record(test, pair, score) for pair, score in zip(part.pairs, part.scores, strict=True)]
    return TestScore(test.name, total, records, scorer.signatures(part.pairs))


def _record(test: TestSet, pair: Pair, scores: Scores) -> dict[str, Any]:
    example, answer = pair
    return {
        "test": test.name,
        "id": example.id,
        "prompt": example.prompt,
        "target": example.target,
        "references": list(example.references),
        "prediction": answer.text,
        "scores": scores,
        "documents": [[document, weight] for document, weight in answer.documents],
        **({"change": example.change, "earlier": list(example.earlier)} if example.change else {}),
    }
