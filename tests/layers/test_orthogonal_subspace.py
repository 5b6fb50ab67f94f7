"""Splitting a weight changes no answer, and what is trained is orthogonal to what an independent SVD finds on top."""

import pytest
import torch
from torch import Tensor

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Example
from cmt_cli.layers.architecture import linear_layers
from cmt_cli.layers.orthogonal_subspace import SingularSubspace, split_layers, trained_factors, without
from tests.methods.task_sequences import logits
from tests.present import present

SUBSPACE = SingularSubspace(targets="all")


def weights_of(learner: Learner) -> dict[str, Tensor]:
    layers = linear_layers(learner.model, "all")
    return {name: layer.get_parameter("weight").detach().clone() for name, layer in layers.items()}


def frozen_directions(weight: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return the left and right directions `[size, k]` of the k largest singular values."""
    left, _, right = torch.linalg.svd(weight.detach().double())
    k = int(share * min(weight.shape))
    return left[:, :k].float(), right[:k].T.float()


def test_splitting_and_merging_preserve_the_function(any_learner: Learner) -> None:
    before = logits(any_learner)
    SUBSPACE.apply(any_learner)
    names = set(linear_layers(any_learner.model, "all"))
    for share in (0.3, 0.5):
        SUBSPACE.split(any_learner, share)
        assert set(split_layers(any_learner.model)) == names  # GPT-2's, too
        torch.testing.assert_close(logits(any_learner), before, rtol=1e-4, atol=1e-5)
        SUBSPACE.merge(any_learner)
        assert not split_layers(any_learner.model) and set(linear_layers(any_learner.model, "all")) == names
        torch.testing.assert_close(logits(any_learner), before, rtol=1e-4, atol=1e-5)


def test_gradients_are_orthogonal_to_the_frozen_directions(any_learner: Learner) -> None:
    SUBSPACE.apply(any_learner)
    weights = weights_of(any_learner)
    SUBSPACE.split(any_learner, 0.3)
    logits_of = any_learner.model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits
    logits_of.square().sum().backward()
    for name, layer in split_layers(any_learner.model).items():
        high_left, high_right = frozen_directions(weights[name], 0.3)
        for parameter, high in zip(trained_factors(layer), (high_left, high_right.T), strict=True):
            gradient = present(parameter.grad)
            product = high.T @ gradient if gradient.shape[0] == high.shape[0] else gradient @ high.T
            assert product.abs().max() < 1e-4 * gradient.abs().max() * len(high)
        assert layer.get_base_layer().weight.grad is None


def test_only_the_trained_parts_take_gradients(any_learner: Learner) -> None:
    SUBSPACE.apply(any_learner)
    SUBSPACE.split(any_learner, 0.5)
    names = {name for name, p in any_learner.model.named_parameters() if p.requires_grad}
    assert names and all(name.rsplit(".", 1)[-1] in ("U_low", "S_low", "V_low") for name in names)
    SUBSPACE.merge(any_learner)
    names = {name for name, p in any_learner.model.named_parameters() if p.requires_grad}
    assert names == {f"{name}.weight" for name in linear_layers(any_learner.model, "all")}
    assert names == set(any_learner.state_dict())


def test_projecting_preserves_the_frozen_part_of_the_weight(any_learner: Learner) -> None:
    """U_high^T W' = S_high V_high^T and W' V_high = U_high S_high for any values of the trained parts."""
    SUBSPACE.apply(any_learner)
    old = weights_of(any_learner)
    SUBSPACE.split(any_learner, 0.5)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in any_learner.trainable():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    SUBSPACE.project(any_learner)
    SUBSPACE.merge(any_learner)
    for name, weight in weights_of(any_learner).items():
        left, right = frozen_directions(old[name], 0.5)
        change = weight - old[name]
        assert change.abs().max() > 0.1 * old[name].abs().max()
        for part in (left.T @ change, change @ right):
            assert part.abs().max() < 1e-4 * change.abs().max()


def test_a_share_of_zero_leaves_the_weights_whole(tiny_llama: Learner) -> None:
    SUBSPACE.apply(tiny_llama)
    SUBSPACE.split(tiny_llama, 0.0)
    assert not split_layers(tiny_llama.model) and len(tiny_llama.trainable()) == 14
    SUBSPACE.split(tiny_llama, 0.05)  # 1 of 32 directions; of the key and value layers' 16 none
    divided = split_layers(tiny_llama.model)
    assert len(divided) == 10 and not any("k_proj" in name or "v_proj" in name for name in divided)
    assert tiny_llama.model.model.layers[0].self_attn.k_proj.weight.requires_grad


def test_without_takes_out_a_direction() -> None:
    basis = torch.tensor([[0.6], [0.8], [0.0]])
    vectors = torch.tensor([[5.0, 0.0], [0.0, 0.0], [0.0, 2.0]])  # columns
    # 0.6 * 5 = 3 along the basis: (5, 0, 0) - 3 (0.6, 0.8, 0)
    torch.testing.assert_close(without(vectors, basis), torch.tensor([[3.2, 0.0], [-2.4, 0.0], [0.0, 2.0]]))


def test_quantized_weights_are_refused(tiny_llama: Learner) -> None:
    layer = tiny_llama.model.model.layers[0].self_attn.q_proj
    layer.weight = torch.nn.Parameter(torch.zeros(32, 32, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(UserError, match=r"q_proj' is quantized.*model\.quantization=null"):
        SUBSPACE.apply(tiny_llama)


def test_a_half_precision_model_trains_in_float32(any_learner: Learner) -> None:
    any_learner.model.to(torch.bfloat16)
    any_learner.dtype = torch.bfloat16
    batch = any_learner.collate(any_learner.rows(Example("a", "", "Ada works in Turin.")))
    before = any_learner.forward(batch).token_nll
    SUBSPACE.apply(any_learner)
    SUBSPACE.split(any_learner, 0.5)
    outputs = any_learner.forward(batch)
    torch.testing.assert_close(outputs.token_nll, before, rtol=0.05, atol=0.05)
    outputs.token_nll.sum().backward()
    assert all(p.dtype == torch.float32 and p.grad is not None for p in any_learner.trainable())
