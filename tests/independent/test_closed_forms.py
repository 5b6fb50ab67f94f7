"""Regularization and distillation on linear models, where everything has a closed form."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cmt_cli.core.parameter_values import squared_distance
from cmt_cli.methods.distillation.distillation import softened_divergence
from cmt_cli.training.importance import mean_of_gradients


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_fisher_of_a_softmax_layer() -> None:
    """The gradient of example n is (p_n - y_n) x_n', so F is the mean of its squares; in expectation p (1 - p) x^2."""
    inputs, weight = torch.randn(6, 4, generator=generator()), torch.randn(3, 4, generator=generator())
    labels = torch.tensor([0, 2, 1, 1, 0, 2])
    weight.requires_grad_(True)
    losses = (F.cross_entropy(weight @ x, y) for x, y in zip(inputs, labels, strict=True))
    found = mean_of_gradients(losses, {"weight": weight}, torch.square)["weight"]
    p = (inputs @ weight.detach().T).softmax(dim=1)
    expected = ((p - F.one_hot(labels, 3)).square().T @ inputs.square()) / 6
    torch.testing.assert_close(found, expected)
    drawn = torch.multinomial(p, 3000, replacement=True, generator=generator())
    every = (F.cross_entropy(weight @ x, y) for x, ys in zip(inputs, drawn, strict=True) for y in ys)
    sampled = mean_of_gradients(every, {"weight": weight}, torch.square)["weight"]
    torch.testing.assert_close(sampled, (p * (1 - p)).T @ inputs.square() / 6, rtol=0.1, atol=1e-3)


def test_ewc_with_the_true_fisher_reaches_the_joint_estimate() -> None:
    """For independent Gaussian observations the log-likelihood is quadratic, so that the penalty loses nothing.

    Task k sees n_k values of each coordinate with scale x_k: F_i = x_k,i^2, and the joint estimate is the mean of all
    values, weighted by n_k x_k,i^2. The old task counts n_1 / n_2 times the mean loss of the new one.
    """
    scales = torch.tensor([[1.0, 3.0, 0.0], [2.0, 0.5, 1.0]])
    optima, counts = torch.tensor([[1.0, -1.0, 0.0], [4.0, 2.0, 7.0]]), torch.tensor([30.0, 10.0])
    precision = scales.square()
    theta = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], max_iter=50, tolerance_grad=1e-10)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        nll = 0.5 * (precision[1] * (theta - optima[1]).square()).sum()
        anchor, fisher = {"theta": optima[0]}, {"theta": precision[0]}
        loss = nll + 0.5 * float(counts[0] / counts[1]) * squared_distance({"theta": theta}, anchor, fisher)
        loss.backward()
        return loss

    optimizer.step(closure)
    weights = counts[:, None] * precision
    torch.testing.assert_close(theta.detach(), (weights * optima).sum(dim=0) / weights.sum(dim=0), rtol=1e-4, atol=1e-4)


def test_the_sensitivity_of_a_linear_map() -> None:
    """||W x||^2 has the gradient 2 W x x'."""
    inputs, weight = torch.randn(5, 4, generator=generator()), torch.randn(3, 4, generator=generator())
    weight.requires_grad_(True)
    found = mean_of_gradients(((weight @ x).square().sum() for x in inputs), {"weight": weight}, torch.abs)["weight"]
    outputs = inputs @ weight.detach().T
    torch.testing.assert_close(found, 2 * outputs.abs().T @ inputs.abs() / 5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_gradient_of_distillation(temperature: float) -> None:
    """d/dz T^2 KL(p || q) = T (q - p), with p and q softened by T."""
    teacher, student = torch.randn(2, 4, 9, generator=generator())
    student.requires_grad_(True)
    softened_divergence(teacher, student, temperature).sum().backward()
    expected = temperature * ((student.detach() / temperature).softmax(-1) - (teacher / temperature).softmax(-1))
    torch.testing.assert_close(student.grad, expected)


def test_hot_distillation_matches_centered_logits() -> None:
    """For large T it tends to half the variance of the logits' differences over the vocabulary (Hinton et al. 2015)."""
    teacher, student = torch.randn(2, 4, 9, dtype=torch.float64, generator=generator())
    found = softened_divergence(teacher, student, 100.0)
    torch.testing.assert_close(
        found.double(), 0.5 * (student - teacher).var(dim=-1, correction=0), rtol=0.05, atol=1e-3
    )
