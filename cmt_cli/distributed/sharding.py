"""Sharding of a model's weights over ranks: FSDP2, torch's `fully_shard`, block by block.

Zhao et al. 2023 (arXiv 2304.11277). Each rank keeps a shard of every weight and gathers a decoder block's when the
block is run. The model is sharded right after it is loaded; what a method adds later (adapters) is small and replicated
on every rank. All ranks therefore run the model in the same passes. Deviation from the usual recipe: no mixed precision
policy, since autocast decides on the number format here as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.layer_checkpoints import decoder_blocks
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method


def refuse_unsharded(method: Method, model: Mapping[str, Any]) -> None:
    """Raise UserError where a method, what it trains, or the settings of a model do not go with sharded weights."""
    name = type(method).__name__
    allowed = vars(type(method)).get("trains_sharded", ())  # the class's own word: what a subclass adds may not work
    if not allowed:
        reason = f"{name} reads or changes whole weights of the model"
    elif type(method.trainable) not in allowed:
        kinds = " or ".join(kind.__name__ for kind in allowed)
        reason = f"{name} can train {kinds} then, not {type(method.trainable).__name__}"
    else:
        reason = None
    if reason is not None:
        raise UserError(f"trainer.distributed=fsdp2 shards the model's weights: {reason}. Use trainer.distributed=ddp.")
    if model.get("quantization") is not None:
        raise UserError(
            f"model.quantization={model['quantization']} does not go with trainer.distributed=fsdp2, which shards "
            "plain weights. Set model.quantization=null, or use trainer.distributed=ddp."
        )

    if model.get("adapter") is not None and model.get("dtype") != "fp32":
        raise UserError(
            "model.adapter is added to the weights in float32, and trainer.distributed=fsdp2 shards weights of one "
            "type. Set model.dtype=fp32, or use trainer.distributed=ddp."
        )


def loading_settings(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's settings with which no GPU has to hold all of it: loaded by the CPU, in the GPU's format."""
    settings = dict(model)
    if torch.cuda.is_available() and settings.get("device") != "cpu":
        settings["device"] = "cpu"
        if settings.get("dtype") == "auto":
            settings["dtype"] = "bf16"
    return settings


def shard(learner: Learner, model: Mapping[str, Any]) -> None:
    """Shard the learner's weights over its process group; `model` are the settings that name the device."""
    on_gpu = torch.cuda.is_available() and model.get("device") != "cpu"
    mesh = init_device_mesh("cuda" if on_gpu else "cpu", (learner.processes.world_size,))
    for block in decoder_blocks(learner.model):
        fully_shard(block, mesh=mesh)
    # Resharded after each pass, so that between passes the model's parameters are always the ones that are trained.
    fully_shard(learner.model, mesh=mesh, reshard_after_forward=True)
