"""One soft prompt per task, the newest in front, the older ones frozen."""

from collections.abc import Callable

import pytest
import torch

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.prefix import Prefix
from cmt_cli.core.stream import Episodes, Example, Prompt, Task
from cmt_cli.layers.prompts import SoftPrompt
from cmt_cli.layers.trainable import Full, Unchanged
from cmt_cli.memory.example_buffer import PerTask
from cmt_cli.methods.architecture.progressive_prompts import ProgressivePrompts
from cmt_cli.methods.combination import Combination
from cmt_cli.methods.replay.replay import Replay
from cmt_cli.methods.sequential.finetune import FineTune
from cmt_cli.running.restore import FinishedFit
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, learn, same, started
from tests.present import present

PROMPT = SoftPrompt(num_virtual=3, text=None, num_common=300, seed=0)
GREEDY = Decoding(max_new_tokens=3, batch_size=8, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
TEXT = "Question: Where?\nAnswer:"
WIDTHS = pytest.mark.parametrize("width", [None, 8])


def make(width: int | None = None) -> ProgressivePrompts:
    return ProgressivePrompts(trainable=PROMPT, reparametrization=width)


def told(task: int | None) -> list[Prompt]:
    return [Prompt("q", TEXT, task=task)]


def values(method: ProgressivePrompts) -> list[torch.Tensor]:
    return [method.prompts.value(i).detach().clone() for i in range(len(method.prompts.prompts))]


@WIDTHS
def test_prompts_are_put_newest_first_and_stay(any_learner: Learner, width: int | None) -> None:
    method = started(any_learner, make(width))
    learn(any_learner, method, TASKS[0])
    (first,) = values(method)
    learn(any_learner, method, TASKS[1])
    kept, second = values(method)
    assert torch.equal(kept, first)
    batch = any_learner.collate(any_learner.rows(Example("x", TEXT, " Oslo")))
    explicit = Prefix(embeddings=torch.cat([second, first])[None])
    expected = any_learner.forward(batch, prefix=explicit).token_nll
    assert torch.equal(any_learner.forward(batch).token_nll, expected)
    assert method.storage_bytes() == 4 * first.numel()


@WIDTHS
def test_a_told_task_is_answered_as_when_learned(any_learner: Learner, width: int | None) -> None:
    method = started(any_learner, make(width))
    base = any_learner.loglikelihood(told(None), [" Oslo"])
    assert method.predictor(any_learner, -1).loglikelihood(told(0), [" Oslo"]) == base
    learn(any_learner, method, TASKS[0])
    after_first = method.predictor(any_learner, 0).loglikelihood(told(0), [" Oslo"])
    answers = method.predictor(any_learner, 0).generate(told(0), GREEDY)
    learn(any_learner, method, TASKS[1])
    predictor = method.predictor(any_learner, 1)
    assert predictor.loglikelihood(told(0), [" Oslo"]) == after_first
    assert predictor.generate(told(0), GREEDY) == answers
    untold, newest = (predictor.loglikelihood(told(task), [" Oslo"]) for task in (None, 1))
    assert untold == newest == any_learner.loglikelihood(told(None), [" Oslo"]) != after_first
    mixed = told(1) + told(None) + told(0)
    assert predictor.loglikelihood(mixed, [" Oslo"] * 3) == pytest.approx([*newest, *untold, *after_first], abs=1e-4)
    assert method.prompts.num_used == 2


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_first_task_is_prompt_tuning(make_learner: Callable[[str], Learner], family: str) -> None:
    learners = [make_learner(family), make_learner(family)]
    for learner, method in zip(learners, (make(), FineTune(trainable=PROMPT)), strict=True):
        learn(learner, started(learner, method), TASKS[0])
    assert same(learners[0].state_dict(), learners[1].state_dict())


def test_the_network_is_folded_into_the_prompt(any_learner: Learner) -> None:
    method = started(any_learner, make(8))
    method.before_task(any_learner, TASKS[0])
    (prompt,), network = method.prompts.prompts.values(), present(method.prompts.network)
    hidden = torch.tanh(prompt @ network.inner.weight.T + network.inner.bias)
    acting = (prompt + hidden @ network.outer.weight.T + network.outer.bias).detach()
    torch.testing.assert_close(method.prompts.value(0), acting)
    assert len(any_learner.trainable()) == 5  # the prompt, two matrices, two biases
    batch = any_learner.collate(any_learner.rows(TASKS[0].train[0]))
    before = any_learner.forward(batch).token_nll
    method.after_task(any_learner, TASKS[0])
    assert torch.equal(any_learner.forward(batch).token_nll, before)
    assert list(any_learner.state_dict()) == ["prefix_source.prompts.prompt_0"]


def test_each_task_starts_from_other_tokens(tiny_llama: Learner) -> None:
    method = started(tiny_llama, make())
    for task in TASKS:
        method.before_task(tiny_llama, task)
    assert not torch.equal(*values(method))
    assert [p.requires_grad for p in method.prompts.prompts.values()] == [False, True]


@WIDTHS
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_killed_run_continues_bit_for_bit(
    make_learner: Callable[[str], Learner], family: str, width: int | None
) -> None:
    assert_survives_a_kill(lambda: make_learner(family), lambda: make(width))


@WIDTHS
def test_a_state_from_mid_task_restores_the_model(make_learner: Callable[[str], Learner], width: int | None) -> None:
    learner, fresh = make_learner("gpt2"), make_learner("gpt2")
    method = started(learner, make(width))
    learn(learner, method, TASKS[0])
    method.before_task(learner, TASKS[1])
    for parameter in learner.trainable():
        parameter.data += 0.1
    other = make(width)
    other.before_stream(fresh, Episodes(), FinishedFit())
    other.load_state_dict(method.state_dict())
    fresh.load_state_dict(learner.state_dict())
    assert same(learner.state_dict(), fresh.state_dict())
    assert [p.shape for p in learner.trainable()] == [p.shape for p in fresh.trainable()]
    batch = learner.collate(learner.rows(TASKS[1].train[0]))
    assert torch.equal(learner.forward(batch).token_nll, fresh.forward(batch).token_nll)


def test_loading_an_older_state_drops_newer_prompts(tiny_llama: Learner) -> None:
    method = started(tiny_llama, make())
    learn(tiny_llama, method, TASKS[0])
    saved, answer = method.state_dict(), tiny_llama.loglikelihood(told(None), [" Oslo"])
    learn(tiny_llama, method, TASKS[1])
    method.load_state_dict(saved)
    assert tiny_llama.loglikelihood(told(None), [" Oslo"]) == answer


def test_it_joins_with_replay(tiny_llama: Learner) -> None:
    prompts = make()
    buffer = PerTask(examples_per_task=2, seed=0)
    replay = Replay(trainable=Unchanged(), buffer=buffer, ratio=0.5, budget="additive", repeats_new_task=False, seed=0)
    method = started(
        tiny_llama, Combination(methods={"prompts": prompts, "replay": replay}, order=["prompts", "replay"])
    )
    for task in TASKS:
        learn(tiny_llama, method, task)
    assert method.predictor(tiny_llama, 1).loglikelihood(told(0), [" Oslo"])
    assert method.storage_bytes() == prompts.storage_bytes() + buffer.storage_bytes()


def test_more_tasks_than_there_is_room_for_are_refused(tiny_llama: Learner) -> None:
    method = started(
        tiny_llama,
        ProgressivePrompts(
            trainable=SoftPrompt(num_virtual=30, text="a", num_common=300, seed=0), reparametrization=None
        ),
    )
    for index in range(2):
        method.before_task(tiny_llama, Task(str(index), index, TASKS[0].train))
    with pytest.raises(UserError, match="90 virtual tokens"):
        method.before_task(tiny_llama, TASKS[1])


def test_another_choice_of_parameters_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainable@method\.trainable=prompt"):
        ProgressivePrompts(trainable=Full(num_frozen_blocks=0), reparametrization=None)  # type: ignore[arg-type]
