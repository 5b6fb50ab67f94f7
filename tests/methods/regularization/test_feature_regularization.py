"""Feature regularization: distances by hand, the teacher against a real second model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cmt_cli.core.batch import Batch, Outputs
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.methods.regularization.feature_regularization import FeatureRegularization, mean_distance, token_distance
from cmt_cli.training.supervised import SupervisedObjective
from tests.methods.gradient_parts import (
    FULL,
    LORA,
    TASKS,
    assert_equals_a_second_model,
    assert_is_finetuning,
    assert_survives_a_kill,
    moved,
    run,
)


def features(
    weight: float = 0.7, layers: Sequence[int] = (0, -1), distance: str = "mse", trainable: Trainable = FULL
) -> FeatureRegularization:
    return FeatureRegularization(trainable=trainable, weight=weight, layers=layers, distance=distance)


def test_distances_by_hand() -> None:
    old, latest = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[3.0, 6.0], [0.0, 2.0]])
    assert token_distance(old, latest, "mse").tolist() == [2.0, 2.5]
    assert token_distance(old, 2 * old, "cosine").tolist() == pytest.approx([0, 0], abs=1e-6)
    assert token_distance(old, latest, "cosine").tolist() == pytest.approx([1 - 33 / (5 * 45**0.5), 1])


def test_rows_weigh_by_labelled_tokens_and_padding_by_nothing() -> None:
    distances = torch.tensor([[1.0, 3.0, 99.0], [4.0, 4.0, 4.0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert mean_distance(distances, mask, torch.tensor([3, 1])).item() == (3 * 2 + 1 * 4) / 4
    assert mean_distance(distances, mask, torch.tensor([0, 0])).item() == 0


@pytest.mark.parametrize(("distance", "trainable"), [("mse", FULL), ("cosine", FULL), ("mse", LORA)])
def test_penalty_and_gradient_equal_a_second_models(any_learner: Learner, distance: str, trainable: Trainable) -> None:
    def expected(teacher: Learner, batch: Batch, student: Outputs) -> Tensor:
        with torch.no_grad():
            old = teacher.model(batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True)
        labelled = (batch.labels[:, 1:] >= 0).sum(dim=1).tolist()
        total = torch.zeros(())
        for row, length in enumerate(batch.attention_mask.sum(dim=1).tolist()):
            for layer in (0, 2):
                one, other = old.hidden_states[layer][row, :length], student.hidden_states[layer][row, :length]
                mse, cosine = F.mse_loss(other, one), 1 - F.cosine_similarity(other, one).mean()
                total = total + (mse if distance == "mse" else cosine) * labelled[row] / sum(labelled) / 2
        return 0.7 * total

    method = features(distance=distance, trainable=trainable)
    assert_equals_a_second_model(any_learner, method, "features", expected)


def test_micro_batches_do_not_change_it(tiny_llama: Learner) -> None:
    method = features()
    run(tiny_llama, method, TASKS[:1])
    moved(tiny_llama)
    objective = SupervisedObjective(tiny_llama, method, TASKS[1].train)
    whole, cut = (
        objective.backward([0, 1, 2], micro_batch_size=size, step=0, num_steps=1)["features"] for size in (3, 1)
    )
    torch.testing.assert_close(whole, cut, rtol=1e-5, atol=1e-6)


def test_without_weight_it_is_finetuning(make_learner: Callable[[str], Learner]) -> None:
    for family in ("llama", "gpt2"):
        assert_is_finetuning(make_learner, family, features(0.0))


def test_a_killed_run_continues_bit_for_bit(make_learner: Callable[[str], Learner]) -> None:
    assert_survives_a_kill(make_learner, lambda: features(distance="cosine"))


def test_layers_that_the_model_does_not_have_are_refused(tiny_llama: Learner) -> None:
    for layers in ([3], [-4], []):
        with pytest.raises(UserError, match="2 decoder blocks"):
            run(tiny_llama, features(layers=layers), [])
    with pytest.raises(UserError, match="distance='l1'"):
        features(distance="l1")
