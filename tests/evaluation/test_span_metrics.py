"""F1 of entities by hand and against seqeval 1.2.2, which counts spans of tagged sentences."""

import pytest

from cmt_cli.core.spans import Entity, entity_answer, read_entities, tagged_entities
from cmt_cli.evaluation.span_metrics import Counts, LabelSpace, macro_f1, micro_f1, span_counts, summed

ALL = LabelSpace()


def test_repeated_entities_are_one_hit_plus_one_false_alarm() -> None:
    ada, turin = Entity("person", "Ada"), Entity("city", "Turin")
    assert span_counts([ada, turin], [ada, ada]) == {"city": Counts(0, 0, 1), "person": Counts(1, 1, 0)}
    assert span_counts([ada, ada], [ada]) == {"person": Counts(1, 0, 1)}


def test_type_and_words_must_both_be_right() -> None:
    found = span_counts([Entity("person", "Ada Lovelace")], [Entity("person", "Ada"), Entity("city", "Ada Lovelace")])
    assert found == {"city": Counts(0, 1, 0), "person": Counts(0, 1, 1)}


def test_micro_counts_entities_and_macro_counts_types() -> None:
    counts = {"person": Counts(3, 1, 0), "city": Counts(0, 0, 2), "date": Counts(0, 0, 0)}
    assert micro_f1(counts, ALL) == pytest.approx(6 / 9)  # tp 3, fp 1, fn 2
    assert macro_f1(counts, ALL) == pytest.approx((6 / 7 + 0) / 2)
    assert micro_f1({}, ALL) is None
    assert macro_f1({"date": Counts(0, 0, 0)}, ALL) is None


def test_invented_types_are_false_alarms_other_tasks_types_not() -> None:
    counts = {"person": Counts(2, 0, 0), "city": Counts(0, 3, 4), "preson": Counts(0, 2, 0), "date": Counts(1, 0, 5)}
    labels = LabelSpace.of(["Person"], ["Person", "City"])
    assert micro_f1(counts, labels) == pytest.approx(4 / 6)  # tp 2, fp 2: "city" is another task's, "date" nobody's
    assert macro_f1(counts, labels) == 1.0
    assert micro_f1(counts, LabelSpace.of([], ["Person"])) == micro_f1(counts, ALL)


# Gold and predicted tags of sentences whose tokens differ, with seqeval.metrics.f1_score(average=...).
AGAINST_SEQEVAL = [
    (
        ["B-PER I-PER O B-LOC", "O B-ORG I-ORG B-ORG O", "B-LOC O B-PER"],
        ["B-PER I-PER O B-ORG", "O B-ORG I-ORG I-ORG O", "B-LOC O B-PER"],
        0.5454545454545454,
        0.5555555555555555,
    ),
    (
        ["B-LOC I-PER I-LOC B-LOC", "I-PER B-PER B-LOC I-LOC", "I-LOC I-LOC I-LOC I-PER"],
        ["B-LOC I-PER I-LOC O", "I-PER O I-PER O", "B-LOC B-LOC B-PER I-PER"],
        0.47058823529411764,
        0.4722222222222222,
    ),
    (
        ["O O I-PER O O", "O I-ORG O", "I-LOC I-ORG O"],
        ["O O I-PER O O", "O I-ORG O", "O I-LOC O"],
        0.5714285714285715,
        0.5555555555555555,
    ),
    (
        ["B-LOC I-LOC E-LOC B-LOC E-PER O", "B-LOC O E-PER", "O O B-PER O O"],
        ["B-LOC I-LOC E-LOC B-LOC E-PER E-LOC", "B-LOC O E-PER", "O O B-PER O O"],
        0.923076923076923,
        0.9285714285714286,
    ),
]


@pytest.mark.parametrize(("gold", "predicted", "micro", "macro"), AGAINST_SEQEVAL)
def test_f1_is_seqevals_where_words_are_unique(
    gold: list[str], predicted: list[str], micro: float, macro: float
) -> None:
    counts = []
    for sentences in zip(gold, predicted, strict=True):
        tokens = [f"w{i}" for i in range(len(sentences[0].split()))]
        answers = [entity_answer(tagged_entities(tokens, tags.split())) for tags in sentences]
        counts.append(span_counts(*(read_entities(answer)[0] for answer in answers)))
    assert micro_f1(summed(counts), ALL) == pytest.approx(micro)
    assert macro_f1(summed(counts), ALL) == pytest.approx(macro)
