"""A LoRA adapter in a folder of peft's, added to a model's weights before anything else is done with it.

    W <- W + (alpha / rank) B A

Tensors and numbers alone are read: nothing of the folder is imported or unpickled. The sum is kept in float32, also
where W was loaded in half precision, since rounding would lose a part of what the adapter has learned.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stored_rows import file_sha256
from cmt_cli.data.files.regular_files import refuse_special

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
EXPORT = "cmt_export.json"  # what `cmt export` says of the base model
_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_WITHOUT_EFFECT = {  # on the sum above, or told apart by the tensors
    *("auto_mapping", "base_model_name_or_path", "fan_in_fan_out", "inference_mode", "lora_dropout", "megatron_core"),
    *("peft_type", "peft_version", "qalora_group_size", "r", "lora_alpha", "revision", "target_modules", "task_type"),
    *("exclude_modules", "layers_pattern", "layers_to_transform", "rank_pattern", "use_rslora"),
}
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal")  # of training; others change the base model's weights
_NAMED = 3  # layers in a message


def adapter_files(given: str) -> list[Path]:
    """Return the files that are read of an adapter's folder; raise UserError where there is none."""
    folder = Path(given).expanduser()
    files = [folder / CONFIG, folder / WEIGHTS]
    missing = [file.name for file in files if not file.exists()]
    if missing == [CONFIG, WEIGHTS] and (folder / "config.json").is_file():
        raise UserError(
            f"model.adapter={given} is a whole model and no adapter. Start from it with model=huggingface "
            f"model.name_or_path={given}."
        )
    if missing:
        raise UserError(
            f"model.adapter={given} is no folder of a peft adapter: {' and '.join(missing)} is missing. Expected are "
            f"{CONFIG} and {WEIGHTS} (pickled weights, adapter_model.bin, are not read), as `cmt export` writes them."
        )
    for file in files:
        refuse_special(file)
    return files


def with_adapter(model: nn.Module, revision: str, given: str | None) -> str:
    """Add the adapter in a folder, if given, to a model's weights; return what the record says of the revision."""
    if given is None:
        return revision
    merge_adapter(model, given)
    return f"{revision} with the adapter {file_sha256(Path(given).expanduser() / WEIGHTS)[:12]}"


def merge_adapter(model: nn.Module, given: str) -> None:
    """Add the adapter in a folder to a model's weights.

    Raises UserError where it is none of LoRA, or of a model with other layers.
    """
    config_file, weights_file = adapter_files(given)
    scale_of = _Scale(_settings(config_file, given))
    try:
        tensors = load_file(weights_file)
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{weights_file}' cannot be read ({error}): it is cut or damaged.") from error
    pairs = _pairs(tensors, given)
    modules = dict(model.named_modules())
    unknown = [path for path, pair in pairs.items() if not _fits(modules.get(path), pair)]
    if unknown:
        raise UserError(
            f"model.adapter={given} belongs to another base model{_named_base(config_file)}: this one has no layer of "
            f"the same size for {', '.join(unknown[:_NAMED])}{' and others' if len(unknown) > _NAMED else ''}."
        )
    with torch.no_grad():
        for path, (down, up) in pairs.items():
            weight = modules[path].get_parameter("weight")
            if not weight.is_floating_point():
                raise UserError(
                    f"model.adapter={given} cannot be added to weights that are rounded by model.quantization. Set "
                    "model.quantization=null."
                )
            update = scale_of(len(down)) * (up.float() @ down.float())
            if not update.isfinite().all():
                raise UserError(f"model.adapter={given} is damaged: what it adds to {path} is not finite.")
            update = update.T if _is_transposed(modules[path]) else update
            weight.data = weight.data.float() + update.to(weight.device)


def refuse_other_base(given: str, files: Mapping[str, str]) -> None:
    """Raise UserError where an exported adapter's base model had other weights than those of `files` (sha256 by name).

    An adapter that another program made does not say which; then its layers alone are compared.
    """
    note = Path(given).expanduser() / EXPORT
    if not note.is_file():
        return
    refuse_special(note)
    try:
        recorded = dict(json.loads(note.read_text(encoding="utf-8"))["base"]["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"'{note}' cannot be read ({error}): it was changed by hand. Export the run again.") from error
    before, now = weights_of(recorded), weights_of(files)
    if before and now and set(before.values()) != set(now.values()):
        raise UserError(
            f"model.adapter={given} was trained beside other weights: those of its base model have the sha256 "
            f"{_short(before)}, those of this run's model {_short(now)}. Choose the model that it was trained with, "
            f"see '{note}', or delete that file if you mean to put it beside others."
        )


def weights_of(files: Mapping[str, str]) -> dict[str, str]:
    """Return of a run's model files those that hold the model's own weights."""
    return {name: digest for name, digest in files.items() if ": " not in name and name.endswith(_WEIGHT_SUFFIXES)}


_WEIGHT_SUFFIXES = (".safetensors", ".gguf")


class _Scale:
    """The factor of an update by its rank."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._alpha, self._is_rs = float(settings["lora_alpha"]), bool(settings.get("use_rslora"))

    def __call__(self, rank: int) -> float:
        return self._alpha / (rank**0.5 if self._is_rs else rank)


def _settings(file: Path, given: str) -> dict[str, Any]:
    try:
        settings = dict(json.loads(file.read_text(encoding="utf-8")))
        kind = settings["peft_type"]
        if kind == "LORA":
            float(settings["lora_alpha"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"'{file}' is no configuration of a peft adapter ({type(error).__name__}: {error}).") from error
    if kind != "LORA":
        raise UserError(
            f"model.adapter={given} is a peft adapter of type {kind}, and only those of type LORA can be added to a "
            "model's weights. Virtual tokens (PROMPT_TUNING, PREFIX_TUNING) stay beside the model."
        )
    used = {
        key: value
        for key, value in settings.items()
        if value and key not in _WITHOUT_EFFECT and (key, value) != ("bias", "none")
    }
    if used.get("init_lora_weights") in _PLAIN_STARTS:
        del used["init_lora_weights"]
    if used:
        key, value = next(iter(used.items()))
        raise UserError(
            f"model.adapter={given} is no plain LoRA adapter: {CONFIG} has {key}={value!r}. Merge it with peft's "
            "`merge_and_unload`, save the model, and start from that folder (model=huggingface model.name_or_path=...)."
        )
    return settings


def _pairs(tensors: Mapping[str, Tensor], given: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Return A `[rank, inputs]` and B `[outputs, rank]` by the path of their layer."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _KEY.fullmatch(name)
        if match is None:
            raise UserError(
                f"model.adapter={given} is no plain LoRA adapter: {WEIGHTS} holds '{name}', which is no matrix of one."
            )
        found.setdefault(match[1], {})[match[2]] = tensor
    pairs = {path: (pair["A"], pair["B"]) for path, pair in found.items() if len(pair) == 2}
    if len(pairs) < len(found) or not pairs:
        raise UserError(f"model.adapter={given}: {WEIGHTS} lacks matrices; it is cut, or was changed by hand.")
    return pairs


def _fits(module: nn.Module | None, pair: tuple[Tensor, Tensor]) -> bool:
    """Return whether a module is a linear layer, or a transposed `Conv1D`, of the pair's inputs and outputs."""
    down, up = pair
    if down.dim() != 2 or up.dim() != 2 or up.shape[1] != len(down):
        return False
    if isinstance(module, nn.Linear):
        return (module.in_features, module.out_features) == (down.shape[1], len(up))
    return (
        module is not None
        and _is_transposed(module)
        and module.get_parameter("weight").shape
        == (
            down.shape[1],
            len(up),
        )
    )


def _is_transposed(module: nn.Module) -> bool:
    return type(module).__name__ == "Conv1D"


def _named_base(config_file: Path) -> str:
    name = json.loads(config_file.read_text(encoding="utf-8")).get("base_model_name_or_path")
    return f" ({name})" if isinstance(name, str) and name else ""


def _short(files: Mapping[str, str]) -> str:
    return ", ".join(digest[:8] for digest in files.values())
