"""Generative replay: the loss by separate forward passes, samples taken apart, and what is kept of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.method import Method, Trainable
from cmt_cli.core.prefix import Prefix
from cmt_cli.core.stream import Example, Prompt, Task
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.trainable import Full, Unchanged
from cmt_cli.methods.combination import Combination
from cmt_cli.methods.replay.generative_replay import MARKED, GenerativeReplay
from cmt_cli.methods.replay.pseudo_examples import (
    Generation,
    Learned,
    PseudoExample,
    common_end,
    marked_row,
    sampled_texts,
)
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.training.supervised import SupervisedObjective
from tests.methods import gradient_parts
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, learn, same, started
from tests.present import present
from tests.training.sessions import MemorySession, budget, trainer

FULL = Full(num_frozen_blocks=0)
PSEUDO = [
    PseudoExample("Task north:\n", "Question: Who works?\nAnswer:", " Ada", True),
    PseudoExample("Task north:\n", "", "Ada works in the", False),
]


def generation(**changes: object) -> Generation:
    values = {"ratio": 2.0, "top_k": 20, "batch_size": 4, "marker": "Task {task}:\n", "separator": "\nAnswer:"}
    return Generation(**{**values, **changes})  # type: ignore[arg-type]


def lamol(lm_weight: float = 0.25, *, trainable: Trainable = FULL, **changes: object) -> GenerativeReplay:
    return GenerativeReplay(trainable=trainable, generation=generation(**changes), lm_weight=lm_weight, seed=0)


def in_the_second_task(learner: Learner, method: GenerativeReplay, pseudo: Sequence[PseudoExample] = PSEUDO) -> None:
    """Bring a fresh method into task 1 with the given pseudo-examples."""
    started(learner, method)
    method.before_task(learner, TASKS[0])
    method.after_task(learner, TASKS[0])
    method.before_task(learner, TASKS[1])
    values = [{"marker": p.marker, "prompt": p.prompt, "target": p.target, "ended": p.ended} for p in pseudo]
    method.load_state_dict({**method.state_dict(), "pseudo": values})


def nll_of(learner: Learner, read: str, target: str, *, ends: bool = True) -> Tensor:
    """Return the nll of each token of `target` and the end token behind `read`, by one forward pass of the model."""
    start = [learner.tokenizer.bos_token_id] if learner.tokenizer("a")["input_ids"][0] == 0 else []
    front, whole = [*start, *learner.encode(read)], [*start, *learner.encode(read + target)]
    assert whole[: len(front)] == front
    ids = [*whole, learner.eos_id] if ends else whole
    log_p = learner.model(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    return torch.stack([-log_p[t - 1, ids[t]] for t in range(max(len(front), 1), len(ids))])


def parts_by_hand(learner: Learner) -> dict[str, list[Tensor]]:
    """Return the nlls of the second task's rows and of PSEUDO's: QA and LM, new and pseudo."""
    question, text = TASKS[1].train
    return {
        "qa_new": [nll_of(learner, question.prompt, question.target), nll_of(learner, "", text.target)],
        "lm_new": [nll_of(learner, "Task south:\n", e.prompt + e.target) for e in (question, text)],
        "qa_pseudo": [nll_of(learner, PSEUDO[0].prompt, " Ada"), nll_of(learner, "", PSEUDO[1].target, ends=False)],
        "lm_pseudo": [
            nll_of(learner, "Task north:\n", PSEUDO[0].prompt + " Ada"),
            nll_of(learner, "Task north:\n", PSEUDO[1].target, ends=False),
        ],
    }


def backward(learner: Learner, method: Method, micro_batch_size: int) -> tuple[dict[str, Tensor], list[Tensor]]:
    learner.model.zero_grad()
    objective = SupervisedObjective(learner, method, TASKS[1].train)
    terms = objective.backward([0, 1], micro_batch_size=micro_batch_size, step=0, num_steps=1)
    return terms, [present(p.grad).clone() for p in learner.trainable()]


def test_loss_and_gradient_average_separate_forward_passes(any_learner: Learner) -> None:
    method = lamol()
    in_the_second_task(any_learner, method)
    terms, gradients = backward(any_learner, method, 100)
    parts = parts_by_hand(any_learner)
    expected = torch.cat([*parts["qa_new"], *parts["qa_pseudo"]]).mean()
    expected = expected + 0.25 * torch.cat([*parts["lm_new"], *parts["lm_pseudo"]]).mean()
    torch.testing.assert_close(terms["loss"], expected.detach(), rtol=1e-5, atol=1e-5)
    for gradient, value in zip(gradients, torch.autograd.grad(expected, any_learner.trainable()), strict=True):
        torch.testing.assert_close(gradient, value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [1, 3])
def test_micro_batches_do_not_change_it(any_learner: Learner, size: int) -> None:
    results: list[tuple[dict[str, Tensor], list[Tensor]]] = []
    for micro_batch_size in (100, size):
        method = lamol()
        learner = any_learner
        if not results:
            in_the_second_task(learner, method)
            saved = method.state_dict()
        else:
            method.before_task(learner, TASKS[1])
            method.load_state_dict(saved)
        results.append(backward(learner, method, micro_batch_size))
    torch.testing.assert_close(results[1][0]["loss"], results[0][0]["loss"])
    for one, other in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_generated_rows_are_marked_as_replayed(tiny_llama: Learner) -> None:
    method = lamol()
    in_the_second_task(tiny_llama, method)
    batch = tiny_llama.collate([row for example in TASKS[1].train for row in tiny_llama.rows(example)])
    mixed = method.mix_batch(tiny_llama, batch)
    assert mixed.ids[:2] == ("c", "d") and sorted(mixed.ids[2:4]) == ["pseudo-1-0", "pseudo-1-1"]
    assert mixed.ids[4:] == tuple(MARKED + name for name in mixed.ids[:4])
    assert mixed.replayed.tolist() == [False, False, True, True] * 2
    width = batch.labels.shape[1]
    assert torch.equal(mixed.labels[:2, :width], batch.labels) and (mixed.labels[:2, width:] == IGNORED).all()


def test_every_pseudo_row_is_learned_once_per_epoch(tiny_llama: Learner) -> None:
    method = lamol(0.0)
    task = Task("south", 1, [Example(f"e{i}", "", f"Text {i}.") for i in range(12)])
    in_the_second_task(tiny_llama, method)
    saved = {**method.state_dict(), "pseudo": [{**vars_of(PSEUDO[1]), "target": f"Old {i}"} for i in range(5)]}
    method.before_task(tiny_llama, task)
    method.load_state_dict(saved)
    rows = [row for example in task.train for row in tiny_llama.rows(example)]
    for _ in range(3):
        batches = [method.mix_batch(tiny_llama, tiny_llama.collate(rows[i : i + 4])) for i in (0, 4, 8)]
        old = [name for batch in batches for name in batch.ids[4:]]
        assert Counter(old) == {f"pseudo-1-{i}": 1 for i in range(5)}
        assert [len(batch.ids) - 4 for batch in batches] == [2, 1, 2]  # 5/12 * 4 = 1.67, 3.33, 5, rounded


def vars_of(example: PseudoExample) -> dict[str, object]:
    return {name: getattr(example, name) for name in ("marker", "prompt", "target", "ended")}


BOTH = ["questions", "texts"]


@pytest.mark.parametrize(
    ("text", "ended", "kinds", "expected"),
    [
        ("Question: Who?\nAnswer: Ada", True, ["questions"], ("Question: Who?\nAnswer:", " Ada", True)),
        ("Question: Who?\nAnswer: Ada", True, BOTH, ("Question: Who?\nAnswer:", " Ada", True)),
        ("Question: Who?\nAnswer: Ada", False, BOTH, None),  # the answer goes on
        ("Question: Who?", True, ["questions"], None),
        ("Question: Who?\nAnswer: ", True, BOTH, None),
        ("\nAnswer: Ada", True, BOTH, None),
        ("Who?\nAnswer: Ada\nWho?\nAnswer: Mara", True, BOTH, None),
        ("Ada works.", True, BOTH, ("", "Ada works.", True)),
        ("Ada works", False, ["texts"], ("", "Ada works", False)),
        ("A quiz\nAnswer: Ada\nAnswer: Mara", True, ["texts"], ("", "A quiz\nAnswer: Ada\nAnswer: Mara", True)),
        (" \n", True, ["texts"], None),
    ],
)
def test_a_sample_is_taken_apart_at_the_separator(
    text: str, ended: bool, kinds: list[str], expected: tuple[str, str, bool] | None
) -> None:
    found = generation().parsed(text, ended=ended, learned=Learned("m", tuple(kinds), "\nAnswer:"))
    assert found == (None if expected is None else PseudoExample("m", *expected))


def test_a_model_that_has_learned_the_examples_writes_them(tiny_llama: Learner) -> None:
    method = started(tiny_llama, lamol(1.0, ratio=4.0, top_k=2))
    task = Task("north", 0, TASKS[0].train[:1])
    fit = trainer(task=budget(num_steps=60, batch_size=1, learning_rate=1e-2))
    method.before_task(tiny_llama, task)
    assert method.pseudo == []
    method.learn(tiny_llama, task, fit.bind(tiny_llama, method, MemorySession()))
    method.after_task(tiny_llama, task)
    assert method.storage_bytes() == len("Task north:\n")
    method.before_task(tiny_llama, TASKS[1])
    original = PseudoExample("Task north:\n", "Question: Where?\nAnswer:", " Oslo", True)
    assert method.pseudo == [original] * 8
    assert method.storage_bytes() == len("Task north:\n") + 8 * len("Question: Where?\nAnswer: Oslo")
    method.after_task(tiny_llama, TASKS[1])
    assert method.storage_bytes() == len("Task north:\nTask south:\n")


def test_past_tasks_share_the_pseudo_examples_evenly(tiny_gpt2: Learner) -> None:
    method = started(tiny_gpt2, lamol(ratio=3.5))
    texts = [Task(name, i, [Example(name, "", f"The {name} is far away.")]) for i, name in enumerate(("sea", "sun"))]
    for task in (*texts, Task("moon", 2, list(texts[0].train) * 2)):
        method.before_task(tiny_gpt2, task)
        if task.index < 2:
            method.after_task(tiny_gpt2, task)
    assert Counter(example.marker for example in method.pseudo) == {"Task sea:\n": 3, "Task sun:\n": 4}
    general = started(tiny_gpt2, lamol(ratio=2.0, marker="Example:\n"))
    for task in texts:
        general.before_task(tiny_gpt2, task)
        general.after_task(tiny_gpt2, task)
    general.before_task(tiny_gpt2, texts[0])
    assert [example.marker for example in general.pseudo] == ["Example:\n"] * 2


def test_malformed_samples_are_dropped_and_counted(tiny_llama: Learner) -> None:
    method = started(tiny_llama, lamol())
    method.before_task(tiny_llama, Task("north", 0, TASKS[0].train[:1]))
    method.after_task(tiny_llama, Task("north", 0, TASKS[0].train[:1]))
    with pytest.warns(UserWarning, match="4 of the 4 examples that the model wrote before task 'south' are malformed"):
        method.before_task(tiny_llama, TASKS[1])  # an untrained model writes no separator
    assert method.pseudo == [] and method.num_malformed == 4


class Soft(nn.Module):
    """Virtual tokens that change what is written."""

    num_virtual = 2

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.randn(1, 2, hidden, generator=torch.Generator().manual_seed(0)))

    def prefix(self, input_ids: Tensor, is_prompt: Tensor) -> Prefix:
        assert is_prompt.all()
        return Prefix(embeddings=self.values.expand(len(input_ids), -1, -1))


@pytest.mark.parametrize("with_prefix", [False, True])
def test_the_likeliest_sample_is_the_learners_greedy_answer(any_learner: Learner, with_prefix: bool) -> None:
    if with_prefix:
        any_learner.add_prefix(Soft(any_learner.hidden_size))
    texts = sampled_texts(any_learner, "Task a:\n", ["x", "y"], max_new_tokens=9, generation=generation(top_k=1))
    greedy = Decoding(max_new_tokens=9, batch_size=1, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
    (answer,) = any_learner.generate([Prompt("q", "Task a:\n")], greedy)
    assert [text.strip() for text, _ in texts] == [answer.text] * 2


def test_the_batch_size_changes_no_sample(any_learner: Learner) -> None:
    seeds = [f"s{i}" for i in range(7)]
    sampled = [
        list(sampled_texts(any_learner, "Task a:\n", seeds, max_new_tokens=9, generation=generation(batch_size=size)))
        for size in (1, 3, 7)
    ]
    assert sampled[0] == sampled[1] == sampled[2]
    assert len(set(sampled[0])) == 7


def test_samples_fit_into_the_model_beside_their_marker(tiny_gpt2: Learner) -> None:
    long = Example("long", "", "word " * 300)
    row = marked_row(tiny_gpt2, "Task a:\n", long)
    assert len(row.input_ids) == tiny_gpt2.max_tokens and row.num_prompt_tokens == len(tiny_gpt2.encode("Task a:\n"))
    method = started(tiny_gpt2, lamol(ratio=1.0))
    for task in (Task("a", 0, [long]), Task("b", 1, [long])):
        method.before_task(tiny_gpt2, task)
        if task.index == 0:
            method.after_task(tiny_gpt2, task)
    (example,) = method.pseudo
    rows = example.rows(tiny_gpt2, "p")
    assert not example.ended and rows[-1].input_ids[-1] != tiny_gpt2.eos_id
    assert all(row.replayed and len(row.input_ids) <= tiny_gpt2.max_tokens for row in rows)


@pytest.mark.parametrize("trainable", [FULL, Lora(rank=2, alpha=4.0, targets="query_value", seed=0)])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_killed_run_continues_bit_for_bit(
    make_learner: Callable[[str], Learner], family: str, trainable: Trainable
) -> None:
    assert_survives_a_kill(lambda: make_learner(family), lambda: lamol(trainable=trainable))


def test_a_saved_task_keeps_its_pseudo_examples(tiny_gpt2: Learner) -> None:
    method = started(tiny_gpt2, lamol())
    learn(tiny_gpt2, method, TASKS[0])
    method.before_task(tiny_gpt2, TASKS[1])
    saved, written = method.state_dict(), list(method.pseudo)
    with torch.no_grad():
        for parameter in tiny_gpt2.trainable():
            parameter.mul_(1.3)
    method.before_task(tiny_gpt2, TASKS[1])
    assert written and method.pseudo != written
    method.load_state_dict(saved)
    assert method.pseudo == written


def test_without_pseudo_examples_and_lm_part_it_is_finetuning(make_learner: Callable[[str], Learner]) -> None:
    for family in ("llama", "gpt2"):
        gradient_parts.assert_is_finetuning(make_learner, family, lamol(0.0, ratio=0.0))


def test_as_member_of_a_combination_it_does_the_same(make_learner: Callable[[str], Learner]) -> None:
    lora = Lora(rank=2, alpha=4.0, targets="query_value", seed=0)
    alone, joined = make_learner("llama"), make_learner("llama")
    member = lamol(trainable=Unchanged())
    composed = Combination(methods={"lora": FineTune(trainable=lora), "lamol": member}, order=["lora", "lamol"])
    for learner, method in ((alone, lamol(trainable=lora)), (joined, composed)):
        started(learner, method)
        for task in TASKS:
            learn(learner, method, task)
    assert same(alone.state_dict(), joined.state_dict())


def test_the_separator_defaults_to_the_prompts_common_ending() -> None:
    found = generation(separator=None)
    forms = [Example(str(i), f"{name} sings.\nForm: music\nEntry:", " jazz") for i, name in enumerate(["Ada", "Bo"])]
    assert found.separator_of(forms) == "\nForm: music\nEntry:"
    assert found.separator_of(forms, earlier="\nForm: food\nEntry:") == "\nEntry:"  # one marker for both
    assert found.separator_of([Example("t", "", "a text")]) == ""
    with pytest.raises(UserError, match=r"generation\.separator"):
        found.separator_of([Example("a", "Who?", " Ada"), Example("b", "Where!", " there")])
    assert common_end(["Who? A:", "Where? A:"]) == "? A:"


@pytest.mark.parametrize(("prompt", "target"), [("Where?", " there"), ("Where?\nAnswer:", " there\nAnswer: here")])
def test_an_example_that_cannot_be_split_is_refused(tiny_llama: Learner, prompt: str, target: str) -> None:
    method = started(tiny_llama, lamol())
    with pytest.raises(UserError, match=r"generation\.separator"):
        method.before_task(tiny_llama, Task("t", 0, [Example("e", prompt, target)]))


def test_prompts_with_demonstrations_are_split_at_their_last_separator() -> None:
    shown = Learned("m", ("questions",), "\nAnswer:", num_separators=2)
    found = generation().parsed("Who?\nAnswer: Ada\nWhere?\nAnswer: Oslo", ended=True, learned=shown)
    assert found == PseudoExample("m", "Who?\nAnswer: Ada\nWhere?\nAnswer:", " Oslo", True)


@pytest.mark.parametrize(("name", "value"), list(itertools.product(["marker", "separator"], ["", "\n"])))
def test_an_empty_marker_or_separator_is_refused(name: str, value: str) -> None:
    with pytest.raises(UserError, match=name):
        generation(**{name: value})
