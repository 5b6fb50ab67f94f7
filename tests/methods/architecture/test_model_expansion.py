"""A growth changes no answer, old weights and older growths stay, and a killed run goes on where it was."""

from collections.abc import Callable

import pytest
import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Episodes
from cmt_cli.methods.architecture.model_expansion import ModelExpansion
from cmt_cli.running.restore import FinishedFit
from tests.methods.task_sequences import TASKS, assert_survives_a_kill, learn, logits, same, started

CASES = [(expansion, grows) for expansion in ("blocks", "width") for grows in ("once", "each_task")]


def grown(expansion: str = "blocks", grows: str = "each_task", num_new_blocks: int = 2) -> ModelExpansion:
    return ModelExpansion(expansion=expansion, num_new_blocks=num_new_blocks, num_new_units=8, grows=grows, seed=0)


@pytest.mark.parametrize("expansion", ["blocks", "width"])
def test_growing_keeps_the_logits_and_learning_keeps_old_weights(any_learner: Learner, expansion: str) -> None:
    old = dict(any_learner.model.named_parameters())
    values = {name: p.detach().clone() for name, p in old.items()}
    before = logits(any_learner)
    method = started(any_learner, grown(expansion))
    learn(any_learner, method, TASKS[0])
    first = any_learner.trainable()
    trained, after = [p.detach().clone() for p in first], logits(any_learner)
    assert not torch.allclose(after, before)
    method.before_task(any_learner, TASKS[1])
    assert torch.equal(logits(any_learner), after)
    method.load_state_dict({"num_growths": 1})
    assert torch.equal(logits(any_learner), after)
    learn(any_learner, method, TASKS[1])
    assert all(torch.equal(p, value) for p, value in zip(first, trained, strict=True))
    assert all(torch.equal(p, values[name]) for name, p in old.items())
    assert not torch.allclose(logits(any_learner), after)
    assert method.storage_bytes() == sum(4 * p.numel() for p in trained)  # all but the newest, in float32


@pytest.mark.parametrize("expansion", ["blocks", "width"])
def test_growing_once_keeps_training_the_same_parameters(
    make_learner: Callable[[str], Learner], expansion: str
) -> None:
    learner = make_learner("llama")
    before = logits(learner)
    method = started(learner, grown(expansion, "once"))
    assert torch.equal(logits(learner), before)
    new = {id(p) for p in learner.trainable()}
    for task in TASKS:
        learn(learner, method, task)
    assert {id(p) for p in learner.trainable()} == new and method.storage_bytes() == 0
    assert len(learner.state_dict()) == len(new)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize(("expansion", "grows"), CASES)
def test_a_killed_run_continues_bit_for_bit(
    make_learner: Callable[[str], Learner], family: str, expansion: str, grows: str
) -> None:
    assert_survives_a_kill(lambda: make_learner(family), lambda: grown(expansion, grows))


def test_names_that_shifted_are_restored_to_the_right_blocks(make_learner: Callable[[str], Learner]) -> None:
    """Blocks of the second task push those of the first up; a state saved after both names the new places."""
    learner, fresh = make_learner("llama"), make_learner("llama")
    method = started(learner, grown())
    for task in TASKS:
        learn(learner, method, task)
    restored = grown()
    restored.before_stream(fresh, Episodes(), FinishedFit())
    restored.load_state_dict(method.state_dict())
    fresh.load_state_dict(learner.state_dict())
    assert same(fresh.state_dict(), learner.state_dict())
    assert {name.split(".")[2] for name in fresh.state_dict()} == {"1", "2", "4", "5"}
    assert torch.equal(logits(fresh), logits(learner))


def test_settings_that_cannot_work_are_refused(tiny_llama: Learner) -> None:
    with pytest.raises(UserError, match=r"method\.expansion='depth'"):
        grown(expansion="depth")
    with pytest.raises(UserError, match=r"method\.grows='never'"):
        grown(grows="never")
    with pytest.raises(UserError, match="at least one block"):
        grown(num_new_blocks=0)
    with pytest.raises(UserError, match="model of 2 decoder blocks"):
        started(tiny_llama, grown(grows="once", num_new_blocks=3))
