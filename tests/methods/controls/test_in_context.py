"""In-context learning: which demonstrations are read, that questions always fit, and that nothing is trained."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Answer, Episodes, Example, Prompt, Task
from cmt_cli.memory.example_buffer import PerTask
from cmt_cli.methods.controls.in_context import InContext
from tests.training.sessions import MemorySession, trainer

DECODING = Decoding(max_new_tokens=4, batch_size=2, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
PLACES = Task("places", 0, [Example(f"p{i}", f"Where is {name}?", " far") for i, name in enumerate(("Ada", "Mara"))])
NAMES = Task("names", 1, [Example(f"n{i}", f"Who is in {name}?", " Ines") for i, name in enumerate(("Rome", "Oslo"))])


class Recorder:
    """A learner that keeps the prompts it is given."""

    def __init__(self, learner: Learner, num_positions: int = 10_000) -> None:
        self.encode_answer, self.prompt_length = learner.encode_answer, learner.prompt_length
        self.num_positions = num_positions
        self.seen: list[str] = []

    def generate(self, prompts: list[Prompt], decoding: Decoding) -> list[Answer]:
        self.seen += [prompt.text for prompt in prompts]
        return [Answer("") for _ in prompts]

    def loglikelihood(self, prompts: list[Prompt], targets: list[str]) -> list[float]:
        self.seen += [prompt.text for prompt in prompts]
        return [0.0 for _ in prompts]


def in_context(**changes: Any) -> InContext:
    values = {"num_demonstrations": 2, "choice": "similar", "separator": "\n\n", "k1": 0.9, "b": 0.4, "seed": 0}
    return InContext(**{"buffer": PerTask(examples_per_task=50, seed=0), **values, **changes})


def learned(learner: Learner, *tasks: Task, **changes: Any) -> InContext:
    method = in_context(**changes)
    fit = trainer().bind(learner, method, MemorySession())
    method.before_stream(learner, Episodes(), fit)
    for task in tasks:
        method.before_task(learner, task)
        method.learn(learner, task, fit)
        method.after_task(learner, task)
    return method


def read(learner: Learner, method: InContext, *prompts: Prompt, num_positions: int = 10_000) -> list[str]:
    recorder: Any = Recorder(learner, num_positions)
    method.predictor(recorder, 1).generate(prompts, DECODING)
    return recorder.seen


def test_the_most_similar_demonstration_stands_next_to_the_question(tiny_llama: Learner) -> None:
    method = learned(tiny_llama, PLACES, NAMES)
    (text,) = read(tiny_llama, method, Prompt("q", "Where is Mara today?"))
    assert text == "Where is Ada? far\n\nWhere is Mara? far\n\nWhere is Mara today?"


def test_a_learned_told_task_gives_the_demonstrations(tiny_llama: Learner) -> None:
    asked = Prompt("q", "Where is Mara?", task=1)
    assert read(tiny_llama, learned(tiny_llama, PLACES), asked)[0].count("Where is") == 3
    for choice in ("similar", "random"):
        (text,) = read(tiny_llama, learned(tiny_llama, PLACES, NAMES, choice=choice), asked)
        assert sorted(text.split("\n\n")[:2]) == ["Who is in Oslo? Ines", "Who is in Rome? Ines"]


def test_random_demonstrations_are_distinct_and_even_over_tasks(tiny_llama: Learner) -> None:
    method = learned(tiny_llama, PLACES, NAMES, choice="random")
    texts = read(tiny_llama, method, *(Prompt(str(i), "What?") for i in range(400)))
    counts: Counter[str] = Counter()
    for text in texts:
        *shown, question = text.split("\n\n")
        assert question == "What?" and len(set(shown)) == 2
        counts.update(shown)
    assert len(counts) == 4 and all(150 < count < 250 for count in counts.values())  # 200 expected, deviation 10


def test_a_question_gets_the_same_demonstrations_in_any_batch(tiny_llama: Learner) -> None:
    method = learned(tiny_llama, PLACES, NAMES, choice="random")
    prompts = [Prompt(str(i), "What?") for i in range(5)]
    together = read(tiny_llama, method, *prompts)
    assert together == [read(tiny_llama, method, prompt)[0] for prompt in prompts]
    assert read(tiny_llama, learned(tiny_llama, PLACES, NAMES, choice="random", seed=1), *prompts) != together


def test_the_batch_size_changes_no_answer(any_learner: Learner) -> None:
    predictor = learned(any_learner, PLACES, NAMES, choice="random").predictor(any_learner, 1)
    prompts = [Prompt(str(i), f"Where is {name}?") for i, name in enumerate(("Ada", "Mara Oduya of Turin", "it"))]
    together = predictor.generate(prompts, DECODING)
    assert together == [predictor.generate([prompt], DECODING)[0] for prompt in prompts]


def test_whole_demonstrations_are_left_out_until_the_question_fits(tiny_llama: Learner) -> None:
    method = learned(tiny_llama, PLACES, NAMES)
    asked = Prompt("q", "Where is Mara today?")
    both, one, none = (
        text + "Where is Mara today?"
        for text in ("Where is Ada? far\n\nWhere is Mara? far\n\n", "Where is Mara? far\n\n", "")
    )
    needed = [len(tiny_llama.encode(text)) + 1 + DECODING.max_new_tokens for text in (both, one)]
    for num_positions, expected in ((needed[0], both), (needed[0] - 1, one), (needed[1], one), (needed[1] - 1, none)):
        assert read(tiny_llama, method, asked, num_positions=num_positions) == [expected]
    assert read(tiny_llama, method, asked, num_positions=3) == [none]


def test_all_choices_are_scored_behind_the_same_text(tiny_llama: Learner) -> None:
    method = learned(tiny_llama, PLACES, NAMES)
    choices = (" a", " a far one")
    asked = Prompt("q", "Where is Mara today?", choices=choices)
    whole = len(tiny_llama.encode("Where is Ada? far\n\nWhere is Mara? far\n\nWhere is Mara today? a")) + 3
    recorder: Any = Recorder(tiny_llama, whole)
    method.predictor(recorder, 1).loglikelihood([asked, asked], choices)
    assert recorder.seen == ["Where is Mara? far\n\nWhere is Mara today?"] * 2


def test_scores_are_those_of_the_extended_prompt(any_learner: Learner) -> None:
    predictor = learned(any_learner, PLACES).predictor(any_learner, 0)
    expected = any_learner.loglikelihood(
        [Prompt("q", "Where is Ada? far\n\nWhere is Mara? far\n\nWhere is Mara?")], [" up"]
    )
    assert predictor.loglikelihood([Prompt("q", "Where is Mara?")], [" up"]) == pytest.approx(expected)


def test_without_demonstrations_it_is_the_frozen_model(any_learner: Learner) -> None:
    prompts = [Prompt("a", "Where is Ada?"), Prompt("b", "Who?")]
    expected = any_learner.generate(prompts, DECODING)
    nothing_learned = learned(any_learner)
    none_shown = learned(any_learner, PLACES, NAMES, num_demonstrations=0, choice="random")
    for method in (nothing_learned, none_shown):
        assert method.predictor(any_learner, 1).generate(prompts, DECODING) == expected
    assert any_learner.trainable() == [] and any_learner.state_dict() == {}


@pytest.mark.parametrize("choice", ["similar", "random"])
def test_state_round_trip_and_bytes(tiny_gpt2: Learner, choice: str) -> None:
    method, other = learned(tiny_gpt2, PLACES, choice=choice), in_context(choice=choice)
    asked = [Prompt(str(i), f"Where is {name}?") for i, name in enumerate(("Ada", "Oslo"))]
    read(tiny_gpt2, other, *asked)  # what it has looked up before does not stay
    other.load_state_dict(method.state_dict())
    fit = trainer().bind(tiny_gpt2, method, MemorySession())
    for one in (method, other):
        one.learn(tiny_gpt2, NAMES, fit)
    assert other.state_dict() == method.state_dict()
    assert read(tiny_gpt2, other, *asked) == read(tiny_gpt2, method, *asked)
    examples = (*PLACES.train, *NAMES.train)
    assert other.storage_bytes() == sum(len(example.prompt + example.target) for example in examples)


@pytest.mark.parametrize(("setting", "value"), [("num_demonstrations", -1), ("choice", "nearest")])
def test_settings_that_cannot_work_are_refused(setting: str, value: object) -> None:
    with pytest.raises(UserError, match=f"method.{setting}"):
        in_context(**{setting: value})


def test_each_text_is_tokenized_once_a_question(tiny_gpt2: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: Counter[str] = Counter()
    encode = tiny_gpt2.encode

    def counted(text: str) -> list[int]:
        encoded[text] += 1
        return encode(text)

    monkeypatch.setattr(tiny_gpt2, "encode", counted)
    labels = tuple(f" label {i}" for i in range(150))
    prompt = Prompt("q", "Where is Ines?", labels)
    method = learned(tiny_gpt2, PLACES)
    encoded.clear()
    method.predictor(tiny_gpt2, 0).loglikelihood([prompt] * len(labels), labels)
    assert [encoded[label] for label in labels] == [1] * len(labels)
    assert sum(encoded.values()) == 2 * len(labels) + 2  # labels alone, behind the prompt, and the prompt twice
