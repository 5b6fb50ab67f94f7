"""The output head gets its rows in one piece, whichever positions are asked for."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cmt_cli.core.learner import Learner
from cmt_cli.models import embedded
from tests.models.checkpoints import load_checkpoint


def read_by_head(learner: Learner, kept: int) -> list[Tensor]:
    """Return the hidden states that the output head gets for the last `kept` positions, all for 0."""
    seen: list[Tensor] = []
    learner.model.get_output_embeddings().register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    learner.model(input_ids=torch.arange(12).reshape(3, 4), logits_to_keep=kept)
    return seen


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_the_output_head_reads_rows_in_one_piece(kept: int, checkpoints: dict[str, Path]) -> None:
    for learner in (embedded.load(device="cpu", dtype="fp32", embedded=True), load_checkpoint(checkpoints["gpt2"])):
        (read,) = read_by_head(learner, kept)
        assert read.is_contiguous() and read.shape[1] == (kept or 4)


def test_a_copy_reads_rows_in_one_piece_too() -> None:
    learner = embedded.load(device="cpu", dtype="fp32", embedded=True)
    assert all(read.is_contiguous() for read in read_by_head(copy.deepcopy(learner), 1))
