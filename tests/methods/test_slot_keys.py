"""Retrieval keys: each slot fills its own share of the key through its own matrix."""

from __future__ import annotations

import pytest
import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.methods.amortized.amortizer import SlotKeys


def slot_keys(num_slots: int = 2, width: int = 3, key_width: int = 4) -> SlotKeys:
    return SlotKeys(num_slots, width, key_width, torch.Generator().manual_seed(0))


def test_a_slot_fills_its_share_by_its_own_matrix() -> None:
    keys = slot_keys()
    states = torch.tensor([[[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]])
    first = keys.weight[0, 0] + 2 * keys.weight[0, 2]
    second = 3 * keys.weight[1, 1]
    torch.testing.assert_close(keys(states)[0], torch.cat([first, second]))


def test_slots_are_not_interchangeable() -> None:
    keys, states = slot_keys(), torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(1))
    assert not torch.allclose(keys(states), keys(states.flip(1)))


def test_centered_keys_have_mean_zero() -> None:
    keys, states = slot_keys(), torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(1)) + 5
    keys.center(states)
    torch.testing.assert_close(keys(states).mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)


def test_a_key_that_the_slots_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match="key_width=5"):
        slot_keys(key_width=5)
