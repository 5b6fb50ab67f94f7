"""With an adapter no method makes another copy of the frozen weights: not as a teacher, an anchor or a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, LlamaConfig

from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Episodes
from cmt_cli.layers.trainable import Full
from cmt_cli.memory.example_buffer import PerTask
from cmt_cli.methods.architecture.inc_lora import IncLora
from cmt_cli.methods.architecture.olora import OLora
from cmt_cli.methods.architecture.slao import Slao
from cmt_cli.methods.distillation.der import DER
from cmt_cli.methods.distillation.distillation import Distillation
from cmt_cli.methods.regularization.ewc import EWC
from cmt_cli.methods.regularization.feature_regularization import FeatureRegularization
from cmt_cli.methods.regularization.l2 import L2
from cmt_cli.methods.regularization.mas import MAS
from cmt_cli.methods.replay.agem import AGem
from cmt_cli.methods.replay.gem import Gem
from cmt_cli.methods.replay.replay import Replay
from cmt_cli.methods.sequential.finetune import FineTune
from tests.methods.gradient_parts import LORA, TASKS, fit, learn


class WeightSized(TorchDispatchMode):
    """Counts the bytes of new tensors that have the shape of a weight matrix, transposed or not, or hold one flat."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._shapes = {tuple(sorted(weight.shape)) for weight in weights}
        self._flat = min(weight.numel() for weight in weights)
        self._known = {weight.untyped_storage().data_ptr() for weight in weights}
        self.num_bytes = 0

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self._known:
                is_matrix = tuple(sorted(tensor.shape)) in self._shapes
                if is_matrix or (tensor.dim() == 1 and tensor.numel() >= self._flat):
                    self.num_bytes += tensor.numel() * tensor.element_size()
        return result


@pytest.fixture
def wide_llama(tiny_llama: Learner) -> Learner:
    """A Llama whose every width is greater than the tokens of a micro-batch, so that no activation looks like one."""
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=152,
        intermediate_size=328,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    return Learner(
        AutoModelForCausalLM.from_config(config), tiny_llama.tokenizer, name="wide", revision="none", max_tokens=128
    )


def buffer() -> PerTask:
    return PerTask(examples_per_task=2, seed=0)


METHODS: dict[str, Callable[[], FineTune]] = {
    "finetune": lambda: FineTune(trainable=LORA),
    "l2": lambda: L2(trainable=LORA, weight=1.0, normalize="sum"),
    "ewc": lambda: EWC(
        trainable=LORA,
        weight=1.0,
        normalize="sum",
        accumulation="per_task",
        gamma=1.0,
        labels="sampled",
        num_samples=4,
        seed=0,
    ),
    "mas": lambda: MAS(trainable=LORA, weight=1.0, normalize="sum", num_samples=4, seed=0),
    "distillation": lambda: Distillation(trainable=LORA, weight=1.0, temperature=2.0),
    "feature_regularization": lambda: FeatureRegularization(trainable=LORA, weight=1.0, layers=[-1], distance="mse"),
    "der": lambda: DER(
        trainable=LORA, buffer=buffer(), alpha=0.5, beta=0.5, distance="mse", top_k=8, old_rows_per_row=1.0, seed=0
    ),
    "replay": lambda: Replay(
        trainable=LORA, buffer=buffer(), ratio=0.5, budget="additive", repeats_new_task=False, seed=0
    ),
    "agem": lambda: AGem(trainable=LORA, buffer=buffer(), reference_rows=2, micro_batch_size=2, seed=0),
    "gem": lambda: Gem(trainable=LORA, buffer=buffer(), reference_rows=2, micro_batch_size=2, margin=0.5, seed=0),
    "inc_lora": lambda: IncLora(trainable=LORA),
    "olora": lambda: OLora(trainable=LORA, orthogonality=0.5, norm=0.1),
    "slao": lambda: Slao(trainable=LORA),
}


def weight_sized_bytes(learner: Learner, method: FineTune) -> tuple[int, int]:
    """Return the bytes of weight-sized tensors that two tasks allocate, and those of all frozen matrices."""
    weights = [parameter for parameter in learner.model.parameters() if parameter.dim() == 2]
    method.before_stream(learner, Episodes(), fit(learner, method))
    with WeightSized(weights) as meter:
        for task in TASKS:
            learn(learner, method, task)
    return meter.num_bytes, sum(weight.numel() * weight.element_size() for weight in weights)


@pytest.mark.parametrize("name", list(METHODS))
def test_two_tasks_allocate_no_tensor_of_frozen_weight_size(wide_llama: Learner, name: str) -> None:
    assert weight_sized_bytes(wide_llama, METHODS[name]())[0] == 0


def test_the_measure_sees_copies(wide_llama: Learner) -> None:
    weights = [parameter for parameter in wide_llama.model.parameters() if parameter.dim() == 2]
    total = sum(weight.numel() * weight.element_size() for weight in weights)
    with WeightSized(weights) as meter:
        wide_llama.frozen_copy()
    assert meter.num_bytes >= total
    with WeightSized(weights) as meter:
        torch.cat([weight.flatten() for weight in weights])
    assert meter.num_bytes >= total
    allocated, frozen = weight_sized_bytes(
        wide_llama, L2(trainable=Full(num_frozen_blocks=0), weight=1.0, normalize="sum")
    )
    assert allocated > 3 * frozen  # gradients, moments of the optimizer, anchors
