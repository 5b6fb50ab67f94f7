"""Which characters are salient, which tokens that makes, and that only they are learned."""

from __future__ import annotations

import pytest
import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Document, Episodes, Task
from cmt_cli.methods.sequential.salient_spans import SalientSpans, overlaps, row_weights, rule_spans, spacy_spans
from tests.training.sessions import MemorySession, budget, trainer

BUDGET = budget(num_epochs=1, num_steps=None, batch_size=1, shuffle=False, learning_rate=1e-3)


def spans(text: str) -> list[str]:
    return [text[start:end] for start, end in rule_spans(text)]


def test_names_in_mid_sentence_are_salient() -> None:
    assert spans("The mayor of Turin met J. R. Smith at the University of Turin.") == [
        "Turin",
        "J. R. Smith",
        "University of Turin",
    ]


def test_first_words_count_in_pairs_or_when_recurring() -> None:
    assert spans("Nobody came. Berlin lost.") == []
    assert spans("Turin grew. Many moved to Turin.") == ["Turin", "Turin"]
    assert spans("Mara Oduya came.") == ["Mara Oduya"]
    assert spans("She left the U.S. in winter.") == ["U.S."]


def test_function_words_are_not_part_of_a_name() -> None:
    assert spans("In Porto it rains. However, The Hague is dry, and I agree.") == ["Porto", "Hague"]


def test_dates_and_years_are_salient_but_no_other_numbers() -> None:
    found = spans("it began on 4 May 2019 and ended 2020-05-17; in the 1990s, 45 dogs ate 1,200 bones for 12 days")
    assert [text for text in found if text != "May"] == ["4 May 2019", "2020-05-17", "1990s"]


def test_numeric_kinds_of_spacy_are_left_out() -> None:
    class Entity:
        def __init__(self, start: int, end: int, label: str) -> None:
            self.start_char, self.end_char, self.label_ = start, end, label

    class Parsed:
        ents = (Entity(0, 3, "PERSON"), Entity(4, 6, "CARDINAL"), Entity(7, 9, "DATE"), Entity(10, 12, "MONEY"))

    assert spacy_spans(lambda text: Parsed(), "any") == [(0, 3), (7, 9)]


def test_a_token_counts_if_one_character_overlaps() -> None:
    assert overlaps([(0, 3), (3, 5), (5, 8), (8, 9)], [(4, 6)]) == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("family", ["tiny_llama", "tiny_gpt2"])
def test_weights_mark_the_tokens_of_the_spans(family: str, request: pytest.FixtureRequest) -> None:
    learner: Learner = request.getfixturevalue(family)
    example = Document("d", "nobody in Turin saw it, not even Mara Oduya herself").as_example()
    ((ids, weights),) = row_weights(learner, example, rule_spans)
    assert len(ids) == len(weights) and weights[-1] == 0.0  # the end token
    marked = "".join(learner.decode([token]) for token, w in zip(ids, weights, strict=True) if w)
    assert marked.replace(" ", "") == "TurinMaraOduya"


def test_long_documents_rows_weigh_their_own_tokens(tiny_llama: Learner) -> None:
    text = " ".join(f"they saw Turin and then {i} more, but Ada left;" for i in range(12))
    example = Document("d", text).as_example()
    method = SalientSpans(budget=BUDGET, tagger="rules")
    method.before_stream(tiny_llama, Episodes(), trainer().bind(tiny_llama, method, MemorySession()))
    method.learn(tiny_llama, Task("t", 0, [example]), trainer().bind(tiny_llama, method, MemorySession()))
    rows = tiny_llama.rows(example)
    assert len(rows) > 1
    batch = tiny_llama.collate(rows[::-1])
    weights = method.token_weights(tiny_llama, batch, tiny_llama.forward(batch))
    marked = ""
    for i in reversed(range(len(rows))):
        marked += "".join(
            tiny_llama.decode([t]) for t, w in zip(rows[::-1][i].input_ids, weights[i], strict=False) if w
        )
    assert marked.replace(" ", "") == "TurinAda" * 12


def test_spanless_text_changes_nothing_and_unknown_rows_count_fully(tiny_llama: Learner) -> None:
    method, before = SalientSpans(budget=BUDGET, tagger="rules"), None
    method.before_stream(tiny_llama, Episodes(), trainer().bind(tiny_llama, method, MemorySession()))
    before = tiny_llama.state_dict()
    example = Document("d", "nothing of note happened there").as_example()
    method.learn(tiny_llama, Task("t", 0, [example]), trainer().bind(tiny_llama, method, MemorySession()))
    assert all(torch.equal(before[name], value) for name, value in tiny_llama.state_dict().items())
    replayed = tiny_llama.collate(tiny_llama.rows(Document("old", "from a buffer").as_example()))
    weights = method.token_weights(tiny_llama, replayed, tiny_llama.forward(replayed))
    assert torch.equal(weights, torch.ones(replayed.input_ids.shape))


def test_an_unknown_tagger_is_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'rules'"):
        SalientSpans(budget=BUDGET, tagger="rule")
