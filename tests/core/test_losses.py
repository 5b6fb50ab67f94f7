import math

import torch

from cmt_cli.core.losses import IGNORED, kept_positions, kl_divergence, mean_over_tokens, token_nll

LABELS = torch.tensor([[IGNORED, 1, IGNORED, 0], [IGNORED, IGNORED, IGNORED, 1]])


def test_kept_positions_precede_a_label_in_any_row() -> None:
    assert kept_positions(LABELS).tolist() == [0, 2]
    assert kept_positions(torch.full((2, 3), IGNORED)).tolist() == []


def test_a_label_at_the_first_position_is_never_scored() -> None:
    labels = torch.tensor([[1, IGNORED]])
    assert kept_positions(labels).tolist() == []
    assert mean_over_tokens(torch.zeros(1, 2), labels) == 0.0


def test_token_nll_scores_each_token_by_the_logits_before() -> None:
    # two tokens with probabilities 3/4 and 1/4, at both kept positions of both rows
    logits = torch.tensor([0.75, 0.25]).log().expand(2, 2, 2)
    nll = token_nll(logits, LABELS, kept_positions(LABELS))
    expected = torch.tensor([[0.0, math.log(4), 0.0, math.log(4 / 3)], [0.0, 0.0, 0.0, math.log(4)]])
    torch.testing.assert_close(nll, expected)


def test_token_nll_without_labels_is_zero_and_differentiable() -> None:
    logits = torch.zeros(2, 0, 5, requires_grad=True)
    labels = torch.full((2, 3), IGNORED)
    nll = token_nll(logits, labels, kept_positions(labels))
    nll.sum().backward()
    assert nll.shape == (2, 3)
    assert nll.sum() == 0


def test_the_mean_divides_by_the_batchs_labelled_tokens() -> None:
    nll = torch.tensor([[0.0, 2.0, 0.0, 4.0], [0.0, 0.0, 0.0, 6.0]])
    assert mean_over_tokens(nll, LABELS) == 4.0
    weights = torch.tensor([[1.0, 0.5, 1.0, 0.0], [1.0, 1.0, 1.0, 2.0]])
    assert mean_over_tokens(nll, LABELS, weights) == (1.0 + 0.0 + 12.0) / 3


def test_kl_divergence_of_two_coins() -> None:
    teacher, student = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log()
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    torch.testing.assert_close(kl_divergence(teacher, student), torch.tensor(expected))
    torch.testing.assert_close(kl_divergence(teacher, teacher), torch.tensor(0.0))
