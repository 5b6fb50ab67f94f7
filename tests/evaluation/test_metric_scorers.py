"""Each metric that a test set may declare, scored over the whole set, and its records."""

import json
from dataclasses import replace
from math import exp

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Example, TestSet
from cmt_cli.evaluation.extraction_scorers import counts_of
from cmt_cli.evaluation.metric_scorers import SCORERS, scorer_of
from cmt_cli.evaluation.scorer import GENERATED
from cmt_cli.evaluation.span_metrics import LabelSpace, macro_f1, micro_f1, summed
from tests.evaluation.predictors import TablePredictor, evaluate


def made_set(metric: str, targets: dict[str, str]) -> TestSet:
    examples = tuple(Example(prompt, prompt, f" {target}") for prompt, target in targets.items())
    return TestSet("tests", examples, metric, 0)


def scores(metric: str, targets: dict[str, str], answers: dict[str, str]) -> dict[str, float | None]:
    return evaluate(TablePredictor(answers), [made_set(metric, targets)])[0].scores


def test_generated_scores_come_with_length_empties_and_ends() -> None:
    generated = [scorer for metric, scorer in SCORERS.items() if metric != "accuracy"]
    assert all(set(GENERATED) <= set(scorer.names) for scorer in generated)
    assert all(metric in scorer.names for metric, scorer in SCORERS.items())


def test_generated_labels_keep_their_letters_and_marks() -> None:
    found = scores("accuracy_generated", {"p": "A", "q": "card lost", "r": "B"}, {"p": "a", "q": "Card  lost", "r": ""})
    assert found["accuracy_generated"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("said", "em", "f1"),
    [("A", 1, 1), ("a", 1, 1), ("", 0, 0), ("the", 0, 0), ("A.", 0, 0), ("B", 0, 0), ("A B", 0, 2 / 3)],
)
def test_one_of_given_labels_is_compared_without_normalization(said: str, em: float, f1: float) -> None:
    example = Example("a", "p", " A", choices=(" A", " B", " C"))
    (found,) = evaluate(TablePredictor({"p": said}), [TestSet("tests", (example,), "em", 0)])
    assert (found.scores["em"], found.scores["em_prefix"]) == (em, em)
    assert found.scores["f1"] == found.scores["f1_shortest"] == pytest.approx(f1)


@pytest.mark.parametrize(("said", "em"), [("a", 1), (" a ", 1), ("A", 0), ("b", 0)])
def test_case_counts_where_it_alone_tells_labels_apart(said: str, em: float) -> None:
    example = Example("a", "p", " a", choices=(" A", " a"))
    for metric, name in (("em", "em"), ("em", "f1"), ("accuracy_generated", "accuracy_generated")):
        (found,) = evaluate(TablePredictor({"p": said}), [TestSet("tests", (example,), metric, 0)])
        assert found.scores[name] == em


def test_first_character_chooses_and_an_empty_answer_is_wrong() -> None:
    targets = {"p": "A. Because", "q": "B", "r": "C"}
    assert scores("first_choice", targets, {"p": "A) for", "q": "the B", "r": ""})["first_choice"] == pytest.approx(
        1 / 3
    )


def test_bleu_is_corpus_level_and_carries_its_signature() -> None:
    targets = {"p": "a b c d e", "q": "f g h i j"}
    (found,) = evaluate(TablePredictor({"p": "a b c d e", "q": "f g h"}), [made_set("bleu", targets)])
    # matches of 1- to 4-grams: 8/8, 6/6, 4/4, 2/2; 8 words for 10
    assert found.scores["bleu"] == pytest.approx(exp(1 - 10 / 8))
    assert found.scores["answer_words"] == 4.0
    assert "|tok:13a|" in found.signatures["bleu"]
    assert set(found.signatures) == {"bleu", "chrf"}


def test_the_record_says_where_f1_counts_characters() -> None:
    (english,) = evaluate(TablePredictor({"p": "Turin"}), [made_set("f1", {"p": "Turin in 东京"})])
    (chinese,) = evaluate(TablePredictor({"p": "东京"}), [made_set("f1", {"p": "东京 NHK"})])
    assert english.signatures == {} and chinese.signatures == {}
    (chinese,) = evaluate(TablePredictor({"p": "东京"}), [made_set("f1", {"p": "东京电视台 NHK"})])
    assert chinese.signatures == {"f1": "tok:char", "f1_shortest": "tok:char"}


def test_sari_compares_with_the_source_or_else_the_prompt() -> None:
    example = Example("a", "Simplify: the big house\nSimple:", " the house", source="the big house")
    tests = TestSet("tests", (example, replace(example, id="b", source="")), "sari", 0)
    (found,) = evaluate(TablePredictor({example.prompt: "the house"}), [tests])
    with_source, with_prompt = (record["scores"]["sari"] for record in found.predictions)
    assert with_source == 1.0
    assert with_prompt == 1.0  # whatever else the prompt says is deleted rightly
    (found,) = evaluate(TablePredictor({example.prompt: "simple house"}), [tests])
    added, kept = (record["scores"]["sari"] for record in found.predictions)
    assert added != pytest.approx(kept, abs=1e-3)  # "simple" is a word of the prompt, but not of the source


def test_longer_texts_are_scored_by_words_and_characters() -> None:
    found = scores("rouge_l", {"p": "return self.name"}, {"p": "return self.x"})
    assert found["rouge_l"] == pytest.approx(2 / 3)  # return, self, name
    assert found["edit_similarity"] == pytest.approx(24 / 29)


GOLD = {"p": "person: Ada; city: Turin", "q": "none", "r": "person: Bo"}
SAID = {"p": "person: Ada; city: Lagos", "q": "person: Ada", "r": "Bo"}


def test_span_f1_is_of_the_whole_set() -> None:
    found = scores("span_f1", GOLD, SAID)
    # person: tp 1, fp 1, fn 1; city: tp 0, fp 1, fn 1
    assert found["span_f1"] == pytest.approx(2 / 6)
    assert found["span_f1_macro"] == pytest.approx((2 / 4 + 0) / 2)
    assert found["malformed_rate"] == pytest.approx(1 / 3)


def test_records_hold_what_span_f1_is_made_of() -> None:
    (found,) = evaluate(TablePredictor(SAID), [made_set("span_f1", GOLD)])
    records = json.loads(json.dumps(found.predictions))
    counts = summed(counts_of(record["scores"]) for record in records)
    assert micro_f1(counts, LabelSpace()) == found.scores["span_f1"]
    assert macro_f1(counts, LabelSpace()) == found.scores["span_f1_macro"]


def test_a_test_without_entities_has_no_f1() -> None:
    found = scores("span_f1", {"p": "none"}, {"p": "none"})
    assert found["span_f1"] is None
    assert found["malformed_rate"] == 0.0


def test_a_target_that_lists_no_entities_is_refused() -> None:
    with pytest.raises(UserError, match="target of 'p' is no list of entities"):
        scores("span_f1", {"p": "Turin"}, {"p": "none"})


def test_an_unknown_metric_is_refused_with_the_nearest_match() -> None:
    with pytest.raises(UserError, match="Did you mean 'rouge_l'"):
        scorer_of("rougeL")
