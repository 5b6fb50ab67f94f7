"""Any causal language model of the Hugging Face hub, a local folder or a GGUF file, in full, half or 4-bit precision.

4-bit is NF4 with double quantization (Dettmers et al. 2023, QLoRA, arXiv 2305.14314), on CUDA only. Weights are read
from safetensors, or from one GGUF file, and from no other format.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from cmt_cli.core.exceptions import UserError, counted, told
from cmt_cli.core.learner import Learner
from cmt_cli.core.mixed_precision import automatic_dtype, num_parameters
from cmt_cli.core.prompt_format import PromptFormat
from cmt_cli.core.setting_checks import one_of
from cmt_cli.models.adapters import adapter_files, with_adapter
from cmt_cli.models.cache_check import check_cache
from cmt_cli.models.chat import NONE, check_settings, prompt_format
from cmt_cli.models.gguf import load_gguf, read_header
from cmt_cli.models.model_files import GGUF, commit_of, config_folder, model_folder
from cmt_cli.models.output_head import read_in_one_piece
from cmt_cli.models.prepared import Origin, Source, origin_of, prepare
from cmt_cli.models.unreadable import (
    UNREADABLE,
    first_line,
    reading_tokenizer,
    reading_weights,
    refuse_json,
    refuse_missing,
)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # 4 bits, an 8-bit scale per 64 weights, a float per 256 scales


def load(
    *,
    name_or_path: str,
    revision: str,
    dtype: str,
    quantization: str | None,
    attention: str,
    device: str,
    max_tokens: int,
    trust_remote_code: bool,
    embedded: bool,
    chat_template: str = NONE,
    system_text: str | None = None,
    source: Source | None = None,
    adapter: str | None = None,
) -> Learner:
    """Return a learner around a hub id, a local folder or a GGUF file; raise UserError for every mistake of the user.

    `max_tokens` bounds a sequence in tokens. `embedded` is read by the data configuration and is false here.
    `chat_template` says whether prompts are written as chat turns, behind `system_text` where there is one. A local
    folder that has a `source` is made from it where it is not there yet. The LoRA adapter in the folder `adapter` is
    added to the weights.
    """
    if adapter is not None:
        adapter_files(adapter)
    form = _Form(dtype, resolve_device(device), attention, quantization)
    one_of(attention, ("sdpa", "eager", "flash_attention_2"), "model.attention")
    if source is not None:
        prepare(source, Path(name_or_path).expanduser())
    if Path(name_or_path).suffix == GGUF:
        model, tokenizer, origin = _from_file(Path(name_or_path).expanduser(), form)
        _check_length(name_or_path, model.config, max_tokens)
    else:
        folder = model_folder(name_or_path, revision)
        refuse_json(folder)
        config = _config(folder, trust_remote_code)
        _check_length(name_or_path, config, max_tokens)
        origin = origin_of(folder) or Origin(name_or_path, commit_of(folder))
        tokenizer = _tokenizer(folder, trust_remote_code, config.get_text_config().vocab_size)
        model = _from_folder(folder, config, form, trust_remote_code=trust_remote_code)
    written_as = prompt_format(
        tokenizer, chat_template=chat_template, system_text=system_text, name=name_or_path, max_tokens=max_tokens
    )
    check_cache(model)
    read_in_one_piece(model)
    return Learner(
        model,
        tokenizer,
        name=origin.name,
        revision=with_adapter(model, origin.revision, adapter),
        max_tokens=max_tokens,
        prompt_format=written_as,
    )


@dataclass(frozen=True, slots=True)
class _Form:
    """In which numbers, where and with which attention a model is loaded."""

    dtype: str
    device: torch.device
    attention: str
    quantization: str | None


def _from_folder(folder: Path, config: Any, form: _Form, *, trust_remote_code: bool) -> Any:
    with reading_weights(folder):
        size = _count_parameters(str(folder), config, form.attention)
    dtype = resolve_dtype(form.dtype, form.device, size)
    settings = _quantization(form.quantization, form.device, dtype)
    with reading_weights(folder):
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=form.attention,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **settings,
        )
    refuse_missing(found["missing_keys"], folder)
    return model if settings else model.to(form.device)


def _from_file(file: Path, form: _Form) -> tuple[Any, Any, Origin]:
    """Load a GGUF file, whose numbers are de-quantized: `form.quantization` would round them a second time."""
    if form.quantization is not None:
        raise UserError(
            f"model.quantization={form.quantization} does not go with the GGUF file '{file}', whose numbers would be "
            "rounded twice. Set model.quantization=null."
        )
    header = read_header(file)
    dtype = resolve_dtype(form.dtype, form.device, header.num_parameters)
    model, tokenizer = load_gguf(file, header, dtype, attention=form.attention)
    _check_tokenizer(tokenizer, str(file), model.config.get_text_config().vocab_size)
    return model.to(form.device), tokenizer, Origin(file.name, header.note)


def local_prompt_format(
    name_or_path: str,
    *,
    revision: str,
    chat_template: str,
    system_text: str | None,
    max_tokens: int,
    trust_remote_code: bool,
) -> PromptFormat | None:
    """Return how a model whose files are here has its prompts, without its weights; None: plain text, or not here.

    Raises UserError for a template that cannot be used, and for settings that contradict each other wherever it is.
    """
    check_settings(chat_template, system_text)
    folder = config_folder(name_or_path, revision)
    if folder is None or chat_template == NONE:
        return None
    config = _config(folder, trust_remote_code)
    tokenizer = _tokenizer(folder, trust_remote_code, config.get_text_config().vocab_size)
    return prompt_format(
        tokenizer, chat_template=chat_template, system_text=system_text, name=name_or_path, max_tokens=max_tokens
    )


def estimate_bytes(name_or_path: str, dtype: str, quantization: str | None, *, revision: str = "main") -> int | None:
    """Return the bytes of the weights from a local or cached configuration, or None where there is none."""
    folder = config_folder(name_or_path, revision)
    if folder is None:
        return None
    config = _config(folder, trust_remote_code=False)
    model = _without_weights(config)
    total = num_parameters(model)
    size = resolve_dtype(dtype, resolve_device("auto"), total).itemsize
    packed = 0
    if quantization == "nf4":
        head = model.get_output_embeddings()
        linear = [m for m in model.modules() if isinstance(m, (torch.nn.Linear, Conv1D)) and m is not head]
        packed = sum(module.weight.numel() for module in linear)
    return int(packed * NF4_BYTES + (total - packed) * size)


def resolve_device(device: str) -> torch.device:
    """Return the torch device of "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N"; UserError if absent."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    one_of(device.split(":")[0], ("auto", "cpu", "cuda", "mps"), "model.device")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"model.device={device}, but torch sees no CUDA device here. Use model.device=auto or cpu.")
    return torch.device(device)


def resolve_dtype(dtype: str, device: torch.device, num_parameters: int) -> torch.dtype:
    """Return the torch dtype of "fp32", "bf16", "fp16" or "auto" (see `automatic_dtype`); UserError otherwise."""
    if dtype == "auto":
        return automatic_dtype(device, num_parameters)
    one_of(dtype, ("auto", *DTYPES), "model.dtype")
    return DTYPES[dtype]


def _config(folder: Path, trust_remote_code: bool) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except UNREADABLE as error:
        if told(error) is not None:
            raise
        raise UserError(
            f"'{folder / 'config.json'}' cannot be read as a model of this transformers version "
            f"({first_line(error)}). Models with their own code need model.trust_remote_code=true."
        ) from error


def _tokenizer(folder: Path, trust_remote_code: bool, num_embeddings: int) -> Any:
    with reading_tokenizer(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    _check_tokenizer(tokenizer, str(folder), num_embeddings)
    return tokenizer


def _check_tokenizer(tokenizer: Any, name: str, num_embeddings: int) -> None:
    """Raise UserError for a tokenizer whose texts could not end, or could not be read by the model."""
    eos_id = tokenizer.eos_token_id
    if eos_id is None or eos_id >= num_embeddings:
        raise UserError(
            f"The tokenizer of '{name}' has the end-of-sequence token {tokenizer.eos_token} (id {eos_id}), but the "
            f"model knows ids below {num_embeddings}: answers could not end. Give the model its own tokenizer."
        )
    # Special ones are let pass: a padding token is often added without an embedding, and no text has it.
    special = {*tokenizer.all_special_ids, *(i for i, t in tokenizer.added_tokens_decoder.items() if t.special)}
    unknown = sorted(token for token, i in tokenizer.get_vocab().items() if i >= num_embeddings and i not in special)
    if unknown:
        raise UserError(
            f"The tokenizer of '{name}' has {counted(len(unknown), 'token')} ({', '.join(unknown[:3])}) beyond the "
            f"{num_embeddings} that the model has embeddings for: a text with one could not be read. Set "
            "model.name_or_path to a folder with the model's own tokenizer, or resize the model's embeddings there."
        )


def _count_parameters(name: str, config: Any, attention: str) -> int:
    """Return the size of a model that is not loaded yet; raise UserError where it has no such attention."""
    if type(config) not in AutoModelForCausalLM._model_mapping:
        return 0  # the model's own code, which is loaded with it
    try:
        return num_parameters(_without_weights(config, attn_implementation=attention))
    except (ValueError, ImportError) as error:
        raise UserError(
            f"'{name}', a model of type '{config.model_type}', cannot have model.attention={attention} here ({error}). "
            "Set model.attention=eager, which every model has."
        ) from error


def _without_weights(config: Any, **settings: Any) -> Any:
    """Return a model whose parameters have shapes and no values."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, **settings)
    model.tie_weights()
    return model


def _check_length(name: str, config: Any, max_tokens: int) -> None:
    limit = config.max_position_embeddings if hasattr(config, "max_position_embeddings") else max_tokens
    if not 2 <= max_tokens <= limit:
        raise UserError(
            f"model.max_tokens={max_tokens}, but '{name}' has {limit} positions. Give a value from 2 to {limit}; leave "
            "room for a method's virtual tokens."
        )


def _quantization(quantization: str | None, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    if quantization is None:
        return {}
    one_of(quantization, ("nf4",), "model.quantization")
    if device.type != "cuda":
        raise UserError(
            f"model.quantization=nf4 needs a CUDA device and model.device is {device.type} here. Set "
            "model.quantization=null, or run on a machine with CUDA."
        )
    absent = [name for name in ("bitsandbytes", "accelerate") if importlib.util.find_spec(name) is None]
    if absent:
        raise UserError(f"model.quantization=nf4 needs {' and '.join(absent)}: run `pip install 'cmt-cli[quantized]'`.")
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": config, "device_map": {"": device}}
