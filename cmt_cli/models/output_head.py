"""Gives a model's output head its rows in one piece; of rows with gaps torch copies the head's weight for each."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def read_in_one_piece(model: Any) -> None:
    """Make the input of a model's output head contiguous.

    The hidden states of the last positions, which is all that decoding needs, are a view with gaps. torch multiplies
    such `[batch, 1, hidden]` by a batched product with one copy of the weight `[vocab, hidden]` per row.
    """
    head = model.get_output_embeddings()
    if isinstance(head, nn.Module):
        head.register_forward_pre_hook(_contiguous)


def _contiguous(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.contiguous() if isinstance(value, Tensor) else value for value in inputs)
