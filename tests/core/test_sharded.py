"""Threads stand for ranks: each computes its rows, all meet behind them, and their gradients add up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from cmt_cli.core.process_group import SINGLE_PROCESS, ProcessGroup, SingleProcess
from cmt_cli.core.sharded import local_slice
from cmt_cli.methods.amortized.encoded_batch import in_chunks


class Meeting:
    """Where threads add up their tensors."""

    def __init__(self, num: int) -> None:
        self.num = num
        self.barrier = threading.Barrier(num, timeout=20)
        self.given: list[list[Tensor]] = [[] for _ in range(num)]


class Member(SingleProcess):
    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank, self.world_size, self.meeting = rank, meeting.num, meeting

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        self.meeting.given[self.rank] = [tensor.detach().clone() for tensor in tensors]
        self.meeting.barrier.wait()
        sums = [torch.stack(same).sum(dim=0) for same in zip(*self.meeting.given, strict=True)]
        self.meeting.barrier.wait()  # nobody gives anew before all have read
        for tensor, value in zip(tensors, sums, strict=True):
            tensor.detach().copy_(value)


def gradients(process_group: ProcessGroup, rows: Tensor, size: int) -> tuple[Tensor, list[Tensor]]:
    """A loss in which rows meet: an encoder in parts, a matrix of all pairs, and a second part that reads the first."""
    encoder = torch.tensor([[0.3, -0.2], [0.5, 0.1], [-0.4, 0.7]], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    states = in_chunks(lambda part: torch.tanh(part @ encoder), size, rows, process_group=process_group)
    pairs = (scale * states @ states.T).softmax(dim=-1)
    mixed = pairs @ states
    nll = in_chunks(
        lambda m, r: (m.sum(dim=1) - (r @ encoder).sum(dim=1)).square(), size, mixed, rows, process_group=process_group
    )
    loss = (nll.mean() + pairs.diagonal().log().mean() + encoder.square().sum()) / process_group.world_size
    loss.backward()
    assert encoder.grad is not None and scale.grad is not None
    return loss.detach(), [encoder.grad, scale.grad]


@pytest.mark.parametrize(("num_rows", "num", "size"), [(6, 2, 9), (5, 2, 2), (5, 3, 1), (2, 4, 3)])
def test_gradients_of_shares_add_up_to_the_whole(num_rows: int, num: int, size: int) -> None:
    rows = torch.randn(num_rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole_loss, whole = gradients(SINGLE_PROCESS, rows, 99)
    meeting = Meeting(num)
    with ThreadPoolExecutor(num) as pool:
        shares = list(pool.map(lambda rank: gradients(Member(rank, meeting), rows, size), range(num)))
    torch.testing.assert_close(sum(loss for loss, _ in shares), whole_loss)
    for i, expected in enumerate(whole):
        torch.testing.assert_close(sum(share[i] for _, share in shares), expected)


@pytest.mark.parametrize(("total", "num"), [(6, 2), (7, 3), (2, 4), (0, 2)])
def test_every_row_belongs_to_one_rank(total: int, num: int) -> None:
    meeting = Meeting(num)
    slices = [local_slice(total, Member(rank, meeting)) for rank in range(num)]
    assert [row for one in slices for row in range(total)[one]] == list(range(total))
