"""A grown model computes what it computed before, has its blocks in their places, and trains only what is new."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig

from cmt_cli.core import key_values
from cmt_cli.core.batch import Row
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.layer_checkpoints import decoder_blocks
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt
from cmt_cli.layers.expansion import Blocks, Expansion, Width, group_tops, output_layers
from tests.methods.task_sequences import logits

BLOCKS, WIDTH = Blocks(num_new_blocks=2), Width(num_new_units=24, seed=0)
ONE_BLOCK = Blocks(num_new_blocks=1)
PROMPTS = [Prompt("a", "Question: Where does Ada work?\nAnswer:"), Prompt("b", "Who opened the bridge")]


def answers(learner: Learner) -> list[str]:
    decoding = Decoding(
        max_new_tokens=8, batch_size=2, stop_text=None, num_beams=1, num_beam_groups=1, diversity_penalty=0.0
    )
    return [answer.text for answer in learner.generate(PROMPTS, decoding)]


def blocks_of(learner: Learner) -> Any:  # whose attributes depend on the family
    return decoder_blocks(learner.model)


def wake(learner: Learner, expansion: Expansion, index: int) -> None:
    """Give the new parameters values, as training would."""
    with torch.no_grad():
        for parameter in expansion.parameters(learner, index):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))


@pytest.mark.parametrize("expansion", [BLOCKS, ONE_BLOCK, WIDTH], ids=lambda e: type(e).__name__)
def test_growth_preserves_the_function(any_learner: Learner, expansion: Expansion) -> None:
    before, said = logits(any_learner), answers(any_learner)
    likely = any_learner.loglikelihood(PROMPTS, [" Turin", " the mayor"])
    for index in range(2):
        expansion.grow(any_learner, index)
        assert torch.equal(logits(any_learner), before)
        assert answers(any_learner) == said
        assert any_learner.loglikelihood(PROMPTS, [" Turin", " the mayor"]) == pytest.approx(likely, abs=1e-5)
    wake(any_learner, expansion, 1)
    assert not torch.allclose(logits(any_learner), before)


@pytest.mark.parametrize("expansion", [BLOCKS, WIDTH], ids=lambda e: type(e).__name__)
def test_a_trained_growth_reads_the_same_from_the_cache(any_learner: Learner, expansion: Expansion) -> None:
    """Cached keys and values of the new blocks have places of their own."""
    expansion.grow(any_learner, 0)
    wake(any_learner, expansion, 0)
    expansion.grow(any_learner, 1)
    wake(any_learner, expansion, 1)
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad():
        whole = any_learner.model(input_ids=ids, use_cache=False).logits
        first = any_learner.model(input_ids=ids[:, :4], use_cache=True)
        second = any_learner.model(
            input_ids=ids[:, 4:], use_cache=True, **key_values.given(any_learner.model, key_values.returned(first))
        )
    torch.testing.assert_close(torch.cat([first.logits, second.logits], dim=1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("expansion", [BLOCKS, WIDTH], ids=lambda e: type(e).__name__)
def test_only_the_newest_growth_takes_gradients(any_learner: Learner, expansion: Expansion) -> None:
    old = dict(any_learner.model.named_parameters())
    first = expansion.grow(any_learner, 0)
    second = expansion.grow(any_learner, 1)
    wake(any_learner, expansion, 0)
    wake(any_learner, expansion, 1)
    any_learner.model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits.square().sum().backward()
    assert all(parameter.grad is None for parameter in [*old.values(), *first])
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in second)
    assert {id(p) for p in any_learner.trainable()} == {id(p) for p in second}
    assert all(parameter.dtype == torch.float32 for parameter in second)


def test_new_blocks_stand_behind_their_groups(
    make_learner: Callable[[str], Learner],
) -> None:
    learner = make_learner("qwen3")
    blocks = blocks_of(learner)
    old = list(blocks)
    BLOCKS.grow(learner, 0)
    BLOCKS.grow(learner, 1)
    assert len(blocks) == learner.model.config.num_hidden_layers == len(learner.model.config.layer_types) == 6
    assert blocks[0] is old[0] and blocks[3] is old[1]
    assert [block.self_attn.layer_idx for block in blocks] == list(range(6))
    weights = [block.self_attn.q_proj.weight for block in blocks]
    assert all(torch.equal(weights[0], weights[i]) for i in (1, 2))
    assert all(torch.equal(weights[3], weights[i]) for i in (4, 5))
    assert blocks[1].self_attn.config is learner.model.config  # not a copy of its own
    BLOCKS.remove(learner, 1)
    assert len(blocks) == learner.model.config.num_hidden_layers == len(learner.model.config.layer_types) == 4
    assert [block.self_attn.layer_idx for block in blocks] == list(range(4)) and blocks[2] is old[1]


@pytest.mark.parametrize("expansion", [BLOCKS, WIDTH], ids=lambda e: type(e).__name__)
def test_half_precision_growth_is_float32_and_preserves_the_function(
    any_learner: Learner, expansion: Expansion
) -> None:
    any_learner.model.to(torch.bfloat16)
    any_learner.dtype = torch.bfloat16
    batch = any_learner.collate([Row("a", (5, 6, 7, 8), 1)])
    before = any_learner.forward(batch).logits
    expansion.grow(any_learner, 0)
    outputs = any_learner.forward(batch)
    assert torch.equal(outputs.logits, before)
    outputs.token_nll.sum().backward()
    new = any_learner.trainable()
    assert all(p.dtype == torch.float32 and p.grad is not None and p.grad.dtype == torch.float32 for p in new)


def test_groups_are_those_of_the_paper() -> None:
    assert group_tops(32, 8) == [3, 7, 11, 15, 19, 23, 27, 31]  # Llama 2 7B to LLaMA Pro 8.3B
    assert group_tops(5, 2) == [1, 4]
    for num in (0, 6):
        with pytest.raises(UserError, match="give 1 to 5"):
            group_tops(5, num)


def test_per_layer_lists_of_the_configuration_follow_the_blocks(make_learner: Callable[[str], Learner]) -> None:
    learner = make_learner("qwen3")
    learner.model.config.layer_types = ["sliding_attention", "full_attention"]
    BLOCKS.grow(learner, 0)
    assert learner.model.config.layer_types == ["sliding_attention"] * 2 + ["full_attention"] * 2


def test_widening_adds_copies_of_old_units_inputs(make_learner: Callable[[str], Learner]) -> None:
    for family, names in (("llama", ("gate_proj", "up_proj", "down_proj")), ("gpt2", ("c_fc", "c_proj"))):
        learner = make_learner(family)
        WIDTH.grow(learner, 0)
        for block in blocks_of(learner):
            base, units = block.mlp.base, block.mlp.added[0]
            rows = getattr(base, names[0]).weight if family == "llama" else getattr(base, names[0]).weight.T
            new = getattr(units, names[0]).weight
            assert new.shape == (24, 32)
            assert (new[:, None] == rows).all(dim=-1).any(dim=1).all()
            assert not getattr(units, names[-1]).weight.any()


def test_a_wider_mlp_is_one_mlp_with_more_units(tiny_llama: Learner) -> None:
    WIDTH.grow(tiny_llama, 0)
    wake(tiny_llama, WIDTH, 0)
    mlp = blocks_of(tiny_llama)[0].mlp
    whole = copy.deepcopy(mlp.base)
    for name, dim in (("gate_proj", 0), ("up_proj", 0), ("down_proj", 1)):
        parts = [getattr(mlp.base, name).weight, getattr(mlp.added[0], name).weight]
        getattr(whole, name).weight = torch.nn.Parameter(torch.cat(parts, dim=dim))
    hidden = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mlp(hidden), whole(hidden))


def grown_from(config: Any, expansion: Expansion) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    ids = torch.tensor([[5, 6, 7, 8]])
    before = model(input_ids=ids).logits
    learner = Learner.__new__(Learner)
    learner.model, learner._unfrozen = model, []
    expansion.grow(learner, 0)
    return before, model(input_ids=ids).logits


@pytest.mark.parametrize("expansion", [BLOCKS, WIDTH], ids=lambda e: type(e).__name__)
def test_gpt_neox_and_scaled_attention_keep_their_function(expansion: Expansion) -> None:
    sizes = {"vocab_size": 50, "max_position_embeddings": 16}
    neox = GPTNeoXConfig(
        **sizes,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        use_parallel_residual=True,
    )
    scaled = GPT2Config(**sizes, n_embd=32, n_layer=3, n_head=4, scale_attn_by_inverse_layer_idx=True)
    for config in (neox, scaled):
        before, after = grown_from(config, expansion)
        assert torch.equal(before, after)


def test_what_cannot_be_grown_is_refused(make_learner: Callable[[str], Learner]) -> None:
    learner = make_learner("llama")
    block = blocks_of(learner)[1]
    block.mlp.down_proj.weight = torch.nn.Parameter(torch.zeros(32, 64, dtype=torch.uint8), requires_grad=False)
    for expansion in (BLOCKS, WIDTH):
        with pytest.raises(UserError, match=r"quantized.*model\.quantization=null"):
            expansion.grow(learner, 0)
    with pytest.raises(UserError, match="exactly one known output projection"):
        output_layers(torch.nn.Sequential(torch.nn.Linear(2, 2)))
