"""Values of the trainable parameters at one time, by name: anchors of penalties, importances, frozen teachers.

A teacher is not a second model: `swapped_in` lets the parameters point to other values for some forward passes, so that
frozen weights exist once, whatever their size. Nothing is copied, and the student's graph stays valid: autograd keeps
the parameter itself and reads its values in the backward pass, when they are the student's again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cmt_cli.core.exceptions import counted
from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import State

Values = dict[str, Tensor]  # one float32 tensor for each parameter, by the parameter's name in the model


def trainable_parameters(learner: Learner) -> dict[str, nn.Parameter]:
    """Return the parameters that take gradients, by name; tied ones once."""
    return {name: p for name, p in learner.model.named_parameters() if p.requires_grad}


def trainable_values(learner: Learner) -> Values:
    """Return copies of the trainable parameters in float32."""
    return {name: p.detach().to(torch.float32, copy=True) for name, p in trainable_parameters(learner).items()}


@contextmanager
def swapped_in(learner: Learner, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Run the block without gradients and with `values` in place of the learner's, which come back in any case.

    Raises ValueError where a trainable parameter has no value: it would be the student's own in the teacher. Backward
    passes belong outside the block.
    """
    parameters = dict(learner.model.named_parameters())
    unmatched = (trainable_parameters(learner).keys() - values.keys()) | (values.keys() - parameters.keys())
    if unmatched:
        raise ValueError(
            f"The kept values and the model differ in {counted(len(unmatched), 'parameter')}, e.g. "
            f"'{min(unmatched)}'. A method that adds parameters has to add them before the values are taken."
        )
    students = {name: parameters[name].data for name in values}
    torch.clear_autocast_cache()  # casts of the student's values, where an enclosing autocast keeps them
    try:
        for name, value in values.items():
            parameters[name].data = value.to(students[name])
        with torch.no_grad():
            yield
    finally:
        for name, value in students.items():
            parameters[name].data = value
        torch.clear_autocast_cache()


def squared_distance(
    parameters: Mapping[str, Tensor], anchor: Mapping[str, Tensor], importance: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Return sum_i w_i (parameter_i - anchor_i)^2 over all elements, in float32; w_i are 1 without `importance`.

    Parameters without an anchor are free; raises ValueError where that is all of them.
    """
    shared = [name for name in parameters if name in anchor]
    if not shared:
        raise ValueError("No parameter that is trained has an anchor, so that the penalty would do nothing.")
    terms = []
    for name in shared:
        squares = (parameters[name].float() - anchor[name]).square()
        terms.append((squares if importance is None else importance[name] * squares).sum())
    return torch.stack([term.to(terms[0].device) for term in terms]).sum()


def to_state(values: Mapping[str, Tensor], prefix: str) -> State:
    """Return values as entries of a state, under `prefix` and the parameters' names."""
    return {prefix + name: value for name, value in values.items()}


def from_state(state: State, prefix: str, device: torch.device) -> Values:
    """Return the values that a state holds under `prefix`."""
    return {
        key.removeprefix(prefix): value.to(device, torch.float32)
        for key, value in state.items()
        if key.startswith(prefix)
    }


def num_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes that the elements of some tensors take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
