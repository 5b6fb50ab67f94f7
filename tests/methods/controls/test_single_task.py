"""One model per task: each is fine-tuning of the base model on its task alone and answers its own questions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.parameter_values import trainable_values
from cmt_cli.core.stream import Prompt
from cmt_cli.layers.peft_lora import Lora
from cmt_cli.layers.trainable import Full, Unchanged
from cmt_cli.methods.architecture.inc_lora import IncLora
from cmt_cli.methods.combination import Combination
from cmt_cli.methods.controls.per_task import text_nll
from cmt_cli.methods.controls.single_task import NewestTask, SingleTask
from tests.methods.task_sequences import (
    TASKS,
    assert_each_task_is_trained_alone,
    assert_survives_a_kill,
    learn,
    logits,
    same,
    started,
)

LORA = Lora(rank=2, alpha=8.0, targets="query_value", seed=0)
FULL = Full(num_frozen_blocks=0)
CHOICES = {"lora": LORA, "full": FULL}
GREEDY = Decoding(max_new_tokens=3, batch_size=8, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
QUESTION = "Question: Where?\nAnswer:"


@pytest.mark.parametrize("trainable", CHOICES.values(), ids=list(CHOICES))
def test_every_tasks_model_equals_fine_tuning_on_it_alone(
    make_learner: Callable[[str], Learner], trainable: Trainable
) -> None:
    assert_each_task_is_trained_alone(lambda: make_learner("gpt2"), SingleTask(trainable=trainable), trainable)


def test_a_new_task_starts_from_the_base_model(any_learner: Learner) -> None:
    base = logits(any_learner)
    method = started(any_learner, SingleTask(trainable=LORA))
    start = trainable_values(any_learner)
    assert torch.equal(logits(any_learner), base)
    learn(any_learner, method, TASKS[0])
    assert not torch.equal(logits(any_learner), base)
    method.before_task(any_learner, TASKS[1])
    assert torch.equal(logits(any_learner), base)
    assert same(trainable_values(any_learner), start)  # the random matrices as well


def test_a_question_is_answered_by_its_tasks_model(any_learner: Learner) -> None:
    method = started(any_learner, SingleTask(trainable=LORA))
    prompts = [Prompt("a", QUESTION, task=0), Prompt("b", QUESTION, task=1), Prompt("c", QUESTION, task=2)]
    targets = [" Oslo"] * 3
    base = any_learner.loglikelihood(prompts[:1], targets[:1])
    assert method.predictor(any_learner, -1) is any_learner
    by_task, own = [], []
    for task in TASKS:
        learn(any_learner, method, task)
        by_task.append(any_learner.loglikelihood(prompts[:1], targets[:1])[0])
        own.append(any_learner.generate(prompts[:1], GREEDY)[0])
    newest = trainable_values(any_learner)
    predictor = method.predictor(any_learner, 1)
    assert predictor.loglikelihood(prompts, targets) == pytest.approx([*by_task, by_task[1]], rel=1e-5)
    assert predictor.generate(prompts, GREEDY) == [*own, own[1]]
    assert len({*base, *by_task}) == 3
    assert same(trainable_values(any_learner), newest)  # back in place


def test_untold_questions_go_to_their_likeliest_model(tiny_llama: Learner) -> None:
    method = started(tiny_llama, SingleTask(trainable=LORA))
    texts = ["Ada works in Oslo.", "Mara works in Accra."]
    losses, scores = [], []
    for task in TASKS:
        learn(tiny_llama, method, task)
        losses.append(text_nll(tiny_llama, texts))
        scores.append(tiny_llama.loglikelihood([Prompt(text, text) for text in texts], [" yes", " yes"]))
    best = torch.stack(losses).argmin(dim=0).tolist()
    assert best == [0, 1]  # each task's text
    found = method.predictor(tiny_llama, 1).loglikelihood([Prompt(text, text) for text in texts], [" yes", " yes"])
    assert found == pytest.approx([scores[task][i] for i, task in enumerate(best)], rel=1e-5)


def test_only_past_tasks_values_are_stored(tiny_llama: Learner) -> None:
    method = started(tiny_llama, SingleTask(trainable=LORA))
    size = sum(4 * value.numel() for value in trainable_values(tiny_llama).values())
    learn(tiny_llama, method, TASKS[0])
    assert method.storage_bytes() == 0
    learn(tiny_llama, method, TASKS[1])
    assert method.storage_bytes() == size


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_killed_run_continues_and_answers_bit_for_bit(make_learner: Callable[[str], Learner], family: str) -> None:
    learners, methods = [], []

    def new_learner() -> Learner:
        learners.append(make_learner(family))
        return learners[-1]

    def new_method() -> SingleTask:
        methods.append(SingleTask(trainable=LORA))
        return methods[-1]

    assert_survives_a_kill(new_learner, new_method)
    prompts, targets = [Prompt("a", QUESTION, task=0), Prompt("b", QUESTION, task=1)], [" Oslo", " Accra"]
    whole, resumed = (methods[i].predictor(learners[i], 1).loglikelihood(prompts, targets) for i in (0, -1))
    assert whole == resumed


def test_half_precision_bases_keep_task_values_in_float32(tiny_llama: Learner) -> None:
    tiny_llama.model.to(torch.bfloat16)
    tiny_llama.dtype = torch.bfloat16
    method = started(tiny_llama, SingleTask(trainable=LORA))
    for task in TASKS:
        learn(tiny_llama, method, task)
    assert all(v.dtype is torch.float32 for key, v in method.state_dict().items() if key.startswith("past."))
    scores = method.predictor(tiny_llama, 1).loglikelihood([Prompt("a", QUESTION, task=0)], [" Oslo"])
    assert scores[0] < 0


def test_combination_with_a_growing_method_is_refused(tiny_llama: Learner) -> None:
    members = {"grows": IncLora(trainable=LORA), "single": SingleTask(trainable=Unchanged())}
    method = started(tiny_llama, Combination(methods=members, order=["grows", "single"]))
    with pytest.raises(UserError, match="same trained parameters in every task"):
        method.before_task(tiny_llama, TASKS[0])


def test_the_newest_task_baseline_answers_with_the_newest_model(
    make_learner: Callable[[str], Learner],
) -> None:
    found = []
    for method, task in ((NewestTask(trainable=LORA), None), (SingleTask(trainable=LORA), 1)):
        learner = make_learner("llama")
        started(learner, method)
        for stage in TASKS:
            learn(learner, method, stage)
        prompts = [
            Prompt(text, text, task=task) for text in ("Ada works in Oslo.", QUESTION)
        ]  # the first task's, and any
        found.append(method.predictor(learner, 1).loglikelihood(prompts, [" yes"] * 2))
        assert (method.storage_bytes() == 0) is (task is None)
    assert found[0] == pytest.approx(found[1])
