"""Low-rank updates are switched on for a block of computation and leave the frozen model alone elsewhere."""

import torch
from torch import nn

from cmt_cli.core.learner import Learner
from cmt_cli.layers.lora import LoraLayers


def test_update_is_the_product_of_up_and_down_scaled() -> None:
    class OneLayer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.q_proj = torch.nn.Embedding(2, 3), torch.nn.Linear(3, 2, bias=False)

        def get_input_embeddings(self) -> nn.Embedding:
            return self.embed

        def get_output_embeddings(self) -> None:
            return None

    model = OneLayer()
    lora = LoraLayers(model, rank=1, alpha=2.0, targets=["q_proj"], seed=0)
    with torch.no_grad():
        model.q_proj.weight.zero_()
        lora.down[0].copy_(torch.tensor([[1.0, 0.0, 1.0]]))
        lora.up[0].copy_(torch.tensor([[3.0], [5.0]]))
    with lora.active():
        result = model.q_proj(torch.tensor([[1.0, 7.0, 2.0]]))
    assert result.tolist() == [[2 * 3 * 3.0, 2 * 5 * 3.0]]  # alpha / rank * up * (1 + 2)


def test_untrained_layers_and_inactive_layers_leave_the_logits_unchanged(
    tiny_llama: Learner, tiny_gpt2: Learner
) -> None:
    for learner in (tiny_llama, tiny_gpt2):
        ids = torch.tensor([[5, 6, 7]])
        before = learner.model(input_ids=ids).logits
        lora = LoraLayers(learner.model, rank=2, alpha=2.0, targets="all", seed=0)
        with lora.active():
            assert torch.equal(learner.model(input_ids=ids).logits, before)  # up starts at zero
        with torch.no_grad():
            for up in lora.up:
                up.fill_(0.1)
        assert torch.equal(learner.model(input_ids=ids).logits, before)
        with lora.active():
            assert not torch.allclose(learner.model(input_ids=ids).logits, before)


def test_last_layers_limits_the_update_to_the_last_blocks(tiny_llama: Learner) -> None:
    every = LoraLayers(tiny_llama.model, rank=1, alpha=1.0, targets="key_value", seed=0)
    last = LoraLayers(tiny_llama.model, rank=1, alpha=1.0, targets="key_value", seed=0, last_layers=1)
    num_blocks = tiny_llama.model.config.num_hidden_layers
    assert len(every.up) == num_blocks * len(last.up)
