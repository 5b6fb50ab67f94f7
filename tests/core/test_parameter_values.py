"""Kept values of parameters: distances by hand, and a teacher that costs no second model and harms no gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import kl_divergence
from cmt_cli.core.parameter_values import (
    from_state,
    num_bytes,
    squared_distance,
    swapped_in,
    to_state,
    trainable_parameters,
    trainable_values,
)
from cmt_cli.core.stream import Example

StudentAndTeacher = tuple[Learner, Learner, dict[str, Tensor]]
ROWS = [Example("a", "Where does Ada work?", " in London"), Example("b", "Who opened the bridge?", " the mayor")]


def test_squared_distance_by_hand() -> None:
    parameters = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]]), "new": torch.tensor([9.0])}
    anchor = {"a": torch.tensor([0.0, 4.0]), "b": torch.tensor([[1.0]]), "gone": torch.tensor([7.0])}
    assert squared_distance(parameters, anchor).item() == 1 + 4 + 4
    importance = {"a": torch.tensor([10.0, 0.5]), "b": torch.tensor([[2.0]])}
    assert squared_distance(parameters, anchor, importance).item() == 10 * 1 + 0.5 * 4 + 2 * 4


def test_squared_distance_pulls_towards_the_anchor() -> None:
    theta = torch.tensor([3.0, -1.0], requires_grad=True)
    squared_distance({"t": theta}, {"t": torch.tensor([1.0, 1.0])}, {"t": torch.tensor([5.0, 0.25])}).backward()
    assert theta.grad is not None and theta.grad.tolist() == [2 * 5 * 2, 2 * 0.25 * -2]


def test_squared_distance_is_taken_in_float32() -> None:
    half = torch.full((1000,), 1.0, dtype=torch.bfloat16)
    assert squared_distance({"t": half}, {"t": torch.full((1000,), 1.001)}).item() == pytest.approx(1e-3, rel=1e-3)


def test_an_anchor_that_fits_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="would do nothing"):
        squared_distance({"a": torch.ones(1)}, {"b": torch.ones(1)})


def test_values_are_copies_by_name_and_round_trip(tiny_gpt2: Learner) -> None:
    tiny_gpt2.unfreeze(["transformer.ln_f.weight", "transformer.ln_f.bias"])
    values = trainable_values(tiny_gpt2)
    with torch.no_grad():
        tiny_gpt2.model.transformer.ln_f.weight.add_(1)
    assert set(values) == {"transformer.ln_f.weight", "transformer.ln_f.bias"}
    assert values["transformer.ln_f.weight"].tolist() == [1.0] * 32
    assert num_bytes(values.values()) == 2 * 32 * 4
    restored = from_state({"x": 1, **to_state(values, "anchor.")}, "anchor.", torch.device("cpu"))
    assert restored.keys() == values.keys() and all(torch.equal(restored[n], v) for n, v in values.items())


def distilled_gradients(learner: Learner, teacher_logits: Tensor) -> list[Tensor]:
    outputs = learner.forward(learner.collate([learner.rows(e)[0] for e in ROWS]))
    loss = kl_divergence(teacher_logits, outputs.logits).mean() + outputs.token_nll.mean()
    return list(torch.autograd.grad(loss, learner.trainable()))


@pytest.fixture
def student_and_teacher(any_learner: Learner) -> StudentAndTeacher:
    """A student, the model it was before some training as an independent copy, and as kept values."""
    any_learner.unfreeze()
    teacher, values = any_learner.frozen_copy(), trainable_values(any_learner)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in any_learner.trainable():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return any_learner, teacher, values


@pytest.mark.parametrize("autocast", [False, True])
def test_a_swapped_in_teacher_equals_a_second_model(student_and_teacher: StudentAndTeacher, autocast: bool) -> None:
    student, teacher, values = student_and_teacher
    batch = student.collate([student.rows(e)[0] for e in ROWS])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):  # whose cache of casts would outlive the swap
        with torch.no_grad():
            expected_logits = teacher.forward(batch).logits
        expected = distilled_gradients(student, expected_logits)
        # The swap comes after the student's forward pass and before its backward pass.
        outputs = student.forward(batch)
        with swapped_in(student, values):
            logits = student.forward(batch).logits
        loss = kl_divergence(logits, outputs.logits).mean() + outputs.token_nll.mean()
        gradients = torch.autograd.grad(loss, student.trainable())
    assert torch.equal(logits, expected_logits) and not logits.requires_grad
    assert not torch.equal(logits, outputs.logits)
    for gradient, value in zip(gradients, expected, strict=True):
        assert torch.equal(gradient, value)


def test_the_swap_allocates_nothing_and_keeps_the_parameters(student_and_teacher: StudentAndTeacher) -> None:
    student, _, values = student_and_teacher
    before = {name: (id(p), p.data_ptr()) for name, p in trainable_parameters(student).items()}
    with swapped_in(student, values):
        for name, parameter in trainable_parameters(student).items():
            assert parameter.data_ptr() == values[name].data_ptr()
    assert before == {name: (id(p), p.data_ptr()) for name, p in trainable_parameters(student).items()}


def test_the_student_comes_back_after_an_error(student_and_teacher: StudentAndTeacher) -> None:
    student, _, values = student_and_teacher
    expected = student.state_dict()
    with pytest.raises(RuntimeError, match="stop"), swapped_in(student, values):
        raise RuntimeError("stop")
    assert all(torch.equal(value, expected[name]) for name, value in student.state_dict().items())
    assert torch.is_grad_enabled()


def test_a_teacher_lacking_a_trained_parameter_is_an_error(tiny_llama: Learner) -> None:
    tiny_llama.unfreeze()
    values = trainable_values(tiny_llama)
    tiny_llama.model.register_parameter("grown", nn.Parameter(torch.ones(2)))
    with pytest.raises(ValueError, match=r"differ in 1 parameter, e\.g\. 'grown'"), swapped_in(tiny_llama, values):
        pass


def test_what_was_trained_once_may_be_frozen_by_now(student_and_teacher: StudentAndTeacher) -> None:
    student, _, values = student_and_teacher
    name = next(iter(values))
    trainable_parameters(student)[name].requires_grad_(False)
    with swapped_in(student, values):
        assert torch.equal(dict(student.model.named_parameters())[name], values[name])
