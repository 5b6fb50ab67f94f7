"""A prefix must act exactly as the tokens that it stands for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cmt_cli.core import key_values
from cmt_cli.core.batch import Row
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.prefix import Prefix, model_inputs

TOLERANCE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-5}
FRONT = [[11, 12, 13], [21, 22, 23]]  # the virtual tokens of two rows
ROWS = [Row("a", (31, 32, 33, 34, 35), 2), Row("b", (41, 42, 43), 1)]  # of different length: the second is padded


def soft_prefix(learner: Learner) -> Prefix:
    return Prefix(embeddings=learner.model.get_input_embeddings()(torch.tensor(FRONT)).detach())


def key_value_prefix(learner: Learner) -> Prefix:
    ids = torch.tensor(FRONT)
    with torch.no_grad():
        out = learner.model(**model_inputs(learner.model, ids, torch.ones_like(ids), None), use_cache=True)
    return Prefix(layers=tuple((layer.keys, layer.values) for layer in key_values.returned(out).layers))


@pytest.mark.parametrize("make_prefix", [soft_prefix, key_value_prefix])
def test_a_prefix_equals_the_forward_pass_over_its_tokens(
    any_learner: Learner, make_prefix: Callable[[Learner], Prefix]
) -> None:
    pairs = zip(FRONT, ROWS, strict=True)
    whole = [Row(row.id, (*front, *row.input_ids), 3 + row.num_prompt_tokens) for front, row in pairs]
    expected = any_learner.forward(any_learner.collate(whole), hidden_states=True)
    actual = any_learner.forward(any_learner.collate(ROWS), hidden_states=True, prefix=make_prefix(any_learner))
    torch.testing.assert_close(actual.token_nll, expected.token_nll[:, 3:], **TOLERANCE)
    torch.testing.assert_close(actual.logits, expected.logits, **TOLERANCE)
    assert actual.kept.tolist() == (expected.kept - 3).tolist()
    real = any_learner.collate(ROWS).attention_mask.bool()
    torch.testing.assert_close(
        actual.hidden_states[-1][real], expected.hidden_states[-1][:, 3:][real], rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("make_prefix", [soft_prefix, key_value_prefix])
def test_gradients_reach_the_prefix_and_no_frozen_weight(
    any_learner: Learner, make_prefix: Callable[[Learner], Prefix]
) -> None:
    prefix = make_prefix(any_learner)
    leaves = [prefix.embeddings] if prefix.embeddings is not None else [t for pair in prefix.layers for t in pair]
    for leaf in leaves:
        leaf.requires_grad_(True)
    any_learner.forward(any_learner.collate(ROWS), prefix=prefix).token_nll.sum().backward()
    assert all(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves)
    assert all(parameter.grad is None for parameter in any_learner.model.parameters())


def test_forward_passes_leave_key_value_prefixes_unchanged(tiny_llama: Learner) -> None:
    prefix = key_value_prefix(tiny_llama)
    first = tiny_llama.forward(tiny_llama.collate(ROWS), prefix=prefix)
    second = tiny_llama.forward(tiny_llama.collate(ROWS), prefix=prefix)
    assert prefix.num_virtual == 3
    assert torch.equal(first.token_nll, second.token_nll)


@pytest.mark.filterwarnings("ignore:.*_checkpointing.*deprecated:FutureWarning")
def test_gradient_checkpointing_may_not_drop_a_key_value_prefix(any_learner: Learner) -> None:
    batch, prefix = any_learner.collate(ROWS), key_value_prefix(any_learner)
    expected = any_learner.forward(batch, prefix=prefix).token_nll
    any_learner.model.gradient_checkpointing_enable()
    assert torch.equal(any_learner.forward(batch, prefix=prefix).token_nll, expected)  # in evaluation mode it rests
    any_learner.model.train()
    with pytest.raises(UserError, match="drops a memory of keys and values"):
        any_learner.forward(batch, prefix=prefix)
    any_learner.forward(batch, prefix=soft_prefix(any_learner)).token_nll.sum().backward()  # nothing to drop


def test_rows_select_and_repeat_memories() -> None:
    prefix = Prefix(embeddings=torch.arange(6.0).view(3, 2, 1))
    chosen = prefix.rows(torch.tensor([2, 0, 2]))
    assert chosen.embeddings is not None
    assert chosen.embeddings[:, 0, 0].tolist() == [4.0, 0.0, 4.0]
    assert (chosen.batch_size, chosen.num_virtual) == (3, 2)


def test_a_prefix_has_exactly_one_form() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Prefix()
    with pytest.raises(ValueError, match="exactly one"):
        Prefix(embeddings=torch.zeros(1, 2, 3), layers=((torch.zeros(1, 1, 2, 3),) * 2,))
