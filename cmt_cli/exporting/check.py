"""What was exported is loaded once, as its user will, and must compute what the run's model computes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from cmt_cli.core.batch import Row
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import ELSEWHERE
from cmt_cli.models.base_models import BaseModel

_NUM_ROWS, _NUM_TOKENS, _SEED = 2, 16, 0
# Of the largest logit: sums in another order, and a model that computes in half precision.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}


def drawn_rows(learner: Learner) -> Tensor:
    """Return random tokens, `[rows, tokens]`."""
    generator = torch.Generator().manual_seed(_SEED)
    num_tokens = min(_NUM_TOKENS, learner.num_positions)
    return torch.randint(
        learner.model.config.get_text_config().vocab_size, (_NUM_ROWS, num_tokens), generator=generator
    )


@torch.no_grad()
def logits_of_run(learner: Learner, ids: Tensor) -> Tensor:
    """Return the adapted model's logits for tokens `[rows, tokens]` behind each token, `[rows, tokens - 1, vocab]`."""
    rows = [Row(str(i), tuple(tokens), 1) for i, tokens in enumerate(ids.tolist())]
    return learner.forward(learner.collate(rows)).logits.float().cpu()


@torch.no_grad()
def logits_of_folder(folder: Path, base: BaseModel | None, ids: Tensor, *, trust_remote_code: bool) -> Tensor:
    """Return the same of what stands in `folder`: a model, or where `base` is given an adapter beside it."""
    settings = {"dtype": torch.float32, "local_files_only": True, "trust_remote_code": trust_remote_code}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers about itself and peft
        model: Any = AutoModelForCausalLM.from_pretrained(folder if base is None else base.folder, **settings)
        if base is not None:
            model = PeftModel.from_pretrained(model, str(folder))
        logits: Tensor = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits[:, -ids.shape[1] : -1].float()


def refuse_difference(run: Tensor, exported: Tensor, dtype: torch.dtype) -> None:
    """Raise UserError where two sets of logits differ by more than another order of sums, or `dtype`, explains."""
    allowed = _TOLERANCE[dtype] * float(run.abs().max())
    difference = float((run - exported).abs().max())
    if not difference <= allowed:
        raise UserError(
            f"The exported folder was loaded for a trial and does not compute what the run's model does (logits differ "
            f"by {difference:.2g}, of {float(run.abs().max()):.2g}), so it was not kept: a part of what was learned is "
            f"nothing that transformers and peft can load. {ELSEWHERE}"
        )
