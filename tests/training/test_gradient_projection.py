"""Projections of gradients in the plane, checked by hand, and GEM's program against all its active sets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.stream import Example
from cmt_cli.training.gradient_projection import (
    nonnegative_minimum,
    project_on_cone,
    project_on_half_space,
    reference_gradient,
)

EXAMPLES = [Example(str(i), f"Question: {i}?\nAnswer:", " yes" * (i + 1)) for i in range(5)]


def parts(vector: Sequence[float]) -> list[Tensor]:
    """Return a vector of the plane as the gradient of two parameters."""
    return [torch.tensor([float(vector[0])]), torch.tensor([[float(vector[1])]])]


def half_space(gradient: Sequence[float], reference: Sequence[float]) -> list[float]:
    values = parts(gradient)
    project_on_half_space(values, parts(reference))
    return [value.item() for value in values]


def cone(gradient: Sequence[float], *references: Sequence[float], margin: float = 0.0) -> list[float]:
    values = parts(gradient)
    project_on_cone(values, [parts(reference) for reference in references], margin=margin)
    return [value.item() for value in values]


def test_a_conflicting_gradient_loses_its_share_along_the_reference() -> None:
    assert half_space((1, -1), (0, 1)) == [1, 0]
    assert half_space((3, -1), (-1, 1)) == [1, 1]  # (3, -1) + 4 / 2 (-1, 1)
    assert half_space((3, -1), (-10, 10)) == pytest.approx([1, 1])  # the reference's length does not matter


def test_a_gradient_that_agrees_stays() -> None:
    assert half_space((1, 2), (0, 1)) == [1, 2]
    assert half_space((1, 0), (0, 1)) == [1, 0]
    assert half_space((1, -1), (0, 0)) == [1, -1]


@pytest.mark.parametrize(
    ("gradient", "references", "expected"),
    [
        ((-1, 2), [(1, 0), (0, 1)], (0, 2)),  # a quarter plane: one side is violated
        ((-1, -1), [(1, 0), (0, 1)], (0, 0)),  # both
        ((3, 2), [(1, 0), (0, 1)], (3, 2)),  # none
        ((2, 0), [(1, 1), (-1, 1)], (1, 1)),  # the cone y >= |x|: its right edge
        ((0, -1), [(1, 1), (-1, 1)], (0, 0)),  # its tip
        ((-3, 1), [(1, 1), (-1, 1)], (-2, 2)),  # its left edge
        ((1, -1), [(0, 2), (0, 2), (0, 4)], (1, 0)),  # references that depend on each other
        ((1, -1), [(0, 0), (0, 1)], (1, 0)),  # a reference of no length forbids nothing
        ((1, -1), [(0, 1), (0, -1)], (1, 0)),  # opposite ones leave a line
    ],
)
def test_the_nearest_point_of_a_cone_in_the_plane(
    gradient: tuple[float, float], references: list[tuple[float, float]], expected: tuple[float, float]
) -> None:
    assert cone(gradient, *references) == pytest.approx(expected, abs=1e-6)


def test_margin_adds_each_reference_at_least_so_often() -> None:
    """v minimizes 1/2 v' v + (-1, 2)' v over v >= 1/2: v = (1, 1/2), so (-1, 2) becomes (0, 2.5)."""
    assert cone((-1, 2), (1, 0), (0, 1), margin=0.5) == pytest.approx([0, 2.5])
    assert cone((1, 2), (1, 0), (0, 1), margin=0.5) == [1, 2]  # nothing is violated, nothing is added


def test_one_past_task_means_projection_on_a_half_space() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        gradient, reference = torch.randn(2, 7, generator=generator)
        one, other = [gradient.clone()], [gradient.clone()]
        project_on_half_space(one, [reference])
        project_on_cone(other, [[reference]], margin=0.0)
        torch.testing.assert_close(one[0], other[0])


def least_over_active_sets(matrix: Tensor, vector: Tensor) -> float:
    """Return the least value of the program over the stationary points of all its faces."""
    values = [0.0]
    for size in range(1, len(vector) + 1):
        for free in map(list, itertools.combinations(range(len(vector)), size)):
            u = torch.zeros_like(vector)
            u[free] = torch.linalg.lstsq(matrix[free][:, free], -vector[free, None]).solution[:, 0]
            if (u >= 0).all():
                values.append(float(u @ matrix @ u / 2 + vector @ u))
    return min(values)


@pytest.mark.parametrize("width", [3, 6, 20])
def test_the_program_has_no_lower_value_on_any_face(width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    for _ in range(30):
        references = torch.randn(6, width, generator=generator, dtype=torch.float64)
        references *= torch.rand(6, 1, generator=generator, dtype=torch.float64) * 100
        matrix = references @ references.T
        vector = references @ torch.randn(width, generator=generator, dtype=torch.float64)
        u = nonnegative_minimum(matrix, vector)
        value = float(u @ matrix @ u / 2 + vector @ u)
        assert (u >= 0).all()
        assert value == pytest.approx(least_over_active_sets(matrix, vector), rel=1e-6, abs=1e-9)


def shortest_over_active_sets(gradient: Tensor, references: Tensor, margin: float) -> Tensor:
    """Return g + R' v of least length with v >= margin, the best of the stationary points of all faces.

    That is the program: 1/2 v' R R' v + (R g)' v is half the squared length of g + R' v, up to a constant.
    """
    lengths = references.norm(dim=1, keepdim=True).clamp(min=1e-30)
    start, units = gradient + margin * references.sum(dim=0), references / lengths
    points = [start]
    for size in range(1, len(units) + 1):
        for free in map(list, itertools.combinations(range(len(units)), size)):
            u = torch.linalg.lstsq(units[free].T, -start[:, None], driver="gelsd").solution[:, 0]
            if (u >= 0).all():
                points.append(start + u @ units[free])
    return min(points, key=lambda point: float(point.norm()))


def degenerate(kind: str, references: Tensor) -> Tensor:
    """Return five references of which some depend on each other, as `kind` says."""
    found = references.clone()
    if kind == "duplicate":
        found[1] = 3 * found[0]
    elif kind == "nearly duplicate":
        found[1] = found[0] + 1e-6 * found[1]
    elif kind == "opposite":
        found[1] = -2 * found[0]
    elif kind == "sum":
        found[4] = found[:2].sum(dim=0)
    elif kind == "zero":
        found[2] = 0
    elif kind == "of all sizes":
        found *= 10.0 ** torch.tensor([[-4.0], [-2.0], [0.0], [2.0], [4.0]])
    return found


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize(
    "kind", ["independent", "duplicate", "nearly duplicate", "opposite", "sum", "zero", "of all sizes"]
)
def test_projection_is_the_shortest_combination_harming_no_reference(kind: str, margin: float) -> None:
    generator = torch.Generator().manual_seed(0)
    changed = 0
    for width in (2, 3, 7, 400) * 5:
        num = int(torch.randint(1, 6, (), generator=generator))
        references = degenerate(kind, torch.randn(5, width, generator=generator))[:num]
        gradient = torch.randn(width, generator=generator) - references.sum(dim=0)
        values = [gradient.clone()]
        project_on_cone(values, [[reference] for reference in references], margin=margin)
        if bool((references @ gradient >= 0).all()):
            assert torch.equal(values[0], gradient)
            continue
        changed += 1
        found, exact = values[0].double(), references.double()
        expected = shortest_over_active_sets(gradient.double(), exact, margin)
        size = float(gradient.double().norm() + margin * exact.norm(dim=1).sum())
        assert float((found - expected).norm()) < 3e-5 * size
        products = exact @ found / exact.norm(dim=1).clamp(min=1e-30)
        assert float(products.min()) > -1e-5 * size
    assert changed > 5


def test_old_gradients_that_cancel_leave_nothing_that_harms_one() -> None:
    """Where the references sum to 0, the products that remain must all be 0: any other step harms a task."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        references = torch.randn(3, 3000, generator=generator)
        references = torch.cat([references, -references.sum(dim=0, keepdim=True)])
        gradient = torch.randn(3000, generator=generator)
        values = [gradient.clone()]
        project_on_cone(values, [[reference] for reference in references], margin=0.5)
        products = references.double() @ values[0].double() / references.double().norm(dim=1)
        assert float(products.abs().max()) < 2e-5 * float(gradient.norm())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_gradients_that_are_not_finite_are_noticed(bad: float) -> None:
    for gradient, reference in (((bad, 1.0), (1.0, -2.0)), ((1.0, 1.0), (bad, -2.0))):
        values = parts(gradient)
        project_on_half_space(values, parts(reference))
        assert not all(value.isfinite().all() for value in values)
        values = parts(gradient)
        project_on_cone(values, [parts(reference), parts((-1.0, -2.0))], margin=0.5)
        assert not all(value.isfinite().all() for value in values)


def test_a_reference_gradient_averages_tokens_and_keeps_grad(any_learner: Learner) -> None:
    parameters = any_learner.unfreeze()
    rows = [row for example in EXAMPLES for row in any_learner.rows(example)]
    whole = reference_gradient(any_learner, rows, micro_batch_size=5)
    cut = reference_gradient(any_learner, rows, micro_batch_size=2)
    assert all(parameter.grad is None for parameter in parameters)
    batch = any_learner.collate(rows)
    (any_learner.forward(batch).token_nll.sum() / (batch.labels[:, 1:] != IGNORED).sum()).backward()
    for parameter, one, other in zip(any_learner.trainable(), whole, cut, strict=True):
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(other, expected, rtol=1e-4, atol=1e-6)


def test_frozen_weights_have_no_reference(tiny_llama: Learner) -> None:
    name = "model.layers.1.self_attn.q_proj.weight"
    (parameter,) = tiny_llama.unfreeze([name])
    (gradient,) = reference_gradient(tiny_llama, tiny_llama.rows(EXAMPLES[0]), micro_batch_size=1)
    assert gradient.shape == parameter.shape and gradient.any()
