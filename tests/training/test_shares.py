"""What several ranks do with one batch, seen without any: each share computed in turn, then added up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import TOKENS
from cmt_cli.core.process_group import SingleProcess
from cmt_cli.core.stream import Example
from cmt_cli.training.gradient_sync import BUCKET_ELEMENTS, in_buckets, sync_gradients
from cmt_cli.training.supervised import SupervisedObjective, local_micro_batches

T = TypeVar("T")
EXAMPLES = [Example(f"e{i}", "Question: where?\nAnswer:", " here" * (1 + i)) for i in range(5)]


@dataclass
class Share(SingleProcess):
    """One of `world_size` ranks that never meets the others."""

    rank: int = 0
    world_size: int = 1


class Penalized(Method):
    """A penalty on the weights and one on the rows, a mean per labelled token."""

    def penalties(self, learner: Learner, batch: Any, outputs: Any) -> dict[str, Tensor]:
        norm = sum(p.square().sum() for p in learner.trainable())
        labelled = (batch.labels[:, 1:] != -100).sum()
        return {"norm": 0.01 * norm, "confidence": outputs.token_nll.square().sum() / labelled}


def gradient(learner: Learner, share: Share, micro_batch_size: int) -> tuple[list[Tensor], dict[str, Tensor]]:
    learner.processes = share
    method = Penalized()
    learner.unfreeze()
    learner.model.zero_grad()
    objective = SupervisedObjective(learner, method, EXAMPLES)
    terms = objective.backward(range(5), micro_batch_size=micro_batch_size, step=0, num_steps=1)
    return [p.grad.clone() for p in learner.trainable() if p.grad is not None], terms


@pytest.mark.parametrize(("num", "micro_batch_size"), [(2, 5), (2, 1), (3, 2), (7, 5)])
def test_shares_of_all_ranks_add_up_to_the_batch(
    make_learner: Callable[[str], Learner], num: int, micro_batch_size: int
) -> None:
    learner = make_learner("llama")
    whole, terms = gradient(learner, Share(0, 1), 5)
    shares = [gradient(learner, Share(rank, num), micro_batch_size) for rank in range(num)]
    for i, expected in enumerate(whole):
        torch.testing.assert_close(sum(share[i] for share, _ in shares), expected, atol=1e-6, rtol=1e-4)
    for name in ("loss", "nll", "norm", "confidence"):
        torch.testing.assert_close(sum(found[name] for _, found in shares), terms[name], atol=1e-5, rtol=1e-5)
    assert all(int(found[TOKENS]) == int(terms[TOKENS]) for _, found in shares)  # of the whole batch, in each


@pytest.mark.parametrize(("num_rows", "num", "size"), [(5, 2, 2), (5, 2, 1), (4, 3, 2), (1, 4, 3), (9, 4, 8)])
def test_each_row_is_read_once_in_equally_many_passes(tiny_llama: Learner, num_rows: int, num: int, size: int) -> None:
    rows = [row for i in range(num_rows) for row in tiny_llama.rows(Example(f"{i}", "Q?", " a" * (1 + i)))]
    batch = tiny_llama.collate(rows)
    passes = [list(local_micro_batches(batch, size, Share(rank, num))) for rank in range(num)]
    read = [name for parts in passes for part, weight in parts if weight for name in part.ids]
    assert sorted(read) == sorted(batch.ids)
    assert len({len(parts) for parts in passes}) == 1
    assert all(len(part.ids) <= size for parts in passes for part, _ in parts)
    for part, _ in (one for parts in passes for one in parts):
        assert part.input_ids.shape[1] == int(part.attention_mask.sum(dim=1).max())  # no padding beyond its own


class Doubling(Share):
    """Two ranks of which the other has the same gradients."""

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            tensor.mul_(2)


def test_a_parameter_that_no_rank_trained_gets_no_gradient() -> None:
    here, elsewhere, nowhere = (nn.Parameter(torch.ones(3)) for _ in range(3))
    here.grad = torch.tensor([1.0, 2.0, 3.0])
    sync_gradients([here, elsewhere, nowhere], [True, True, False], Doubling(0, 2), is_data_parallel=True)
    assert here.grad.tolist() == [2.0, 4.0, 6.0]
    assert elsewhere.grad is not None and elsewhere.grad.tolist() == [0.0, 0.0, 0.0]
    assert nowhere.grad is None


def test_tensors_of_any_type_and_layout_reduce_in_place() -> None:
    transposed = torch.arange(6.0).reshape(2, 3).T
    tensors = [torch.ones(2), transposed, torch.ones(2, dtype=torch.float64), torch.ones(BUCKET_ELEMENTS + 1)]
    sizes: list[int] = []

    def double(bucket: Sequence[Tensor]) -> None:
        (flat,) = bucket
        sizes.append(flat.numel())
        flat.mul_(2)

    in_buckets(tensors, double)
    assert sizes == [8, 2, BUCKET_ELEMENTS + 1]
    assert transposed.tolist() == [[0.0, 6.0], [2.0, 8.0], [4.0, 10.0]]
    assert all(bool((tensor == 2).all()) for tensor in (tensors[0], tensors[2], tensors[3]))
