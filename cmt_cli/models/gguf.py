"""GGUF files, the one-file format of llama.cpp, read into a model of transformers with its numbers de-quantized.

A file of 4 or 8 bits a weight gives a model that is as large as any other and computes as any other; what rounding has
lost stays lost, so that scores are those of the quantized model, not of the weights that it was made from.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cmt_cli.core.exceptions import UserError, counted, told

_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says about itself: the architecture, and the format of most of its numbers, e.g. Q4_1."""

    architecture: str
    quantization: str
    num_parameters: int

    @property
    def note(self) -> str:
        """Return what a record says about weights from the file."""
        is_exact = self.quantization in ("F32", "F16", "BF16")
        return f"GGUF {self.quantization}" + ("" if is_exact else ", de-quantized")


def refuse_missing_reader(what: str) -> None:
    """Raise UserError where a package that reading GGUF files takes is not installed."""
    absent = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if absent:
        raise UserError(f"Reading '{what}' needs {' and '.join(absent)}: run `pip install 'cmt-cli[gguf]'`.")


def read_header(file: Path) -> Header:
    """Read what the file says about itself; raise UserError where it is absent, cut or none, or `gguf` is missing."""
    refuse_missing_reader(str(file))
    if not file.is_file():
        raise UserError(f"The GGUF file '{file}' does not exist, or is no regular file.")
    with file.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise UserError(f"'{file}' is no GGUF file: it does not begin with the letters GGUF.")
    from gguf import GGUFReader

    try:
        reader: Any = GGUFReader(file)
        architecture = str(reader.fields["general.architecture"].contents())
        counts: Counter[str] = Counter()
        for tensor in reader.tensors:
            counts[tensor.tensor_type.name] += int(tensor.n_elements)
    except (ValueError, LookupError, OverflowError) as error:  # of the reader, whose offsets lead behind the end
        raise UserError(
            f"The GGUF file '{file}' cannot be read ({type(error).__name__}: {error}): it is cut or damaged. Fetch it "
            "again."
        ) from error
    return Header(architecture, counts.most_common(1)[0][0] if counts else "F32", counts.total())


def load_gguf(file: Path, header: Header, dtype: torch.dtype, *, attention: str = "sdpa") -> tuple[Any, Any]:
    """Return the model and the tokenizer of a GGUF file whose header was read.

    Raises UserError for an architecture that is not known, and for a file that lacks weights of its own.
    """
    # Without `trust_remote_code` transformers would ask whether to execute code that lies beside the file.
    where = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
        model: Any
        model, found = AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=dtype, attn_implementation=attention, output_loading_info=True, **where
        )
    except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        if told(error) is not None:  # memory, not the file
            raise
        raise UserError(
            f"The GGUF file '{file}' holds a model of architecture '{header.architecture}', which this transformers "
            f"version cannot read ({error}). Give a folder of safetensors, which every architecture has."
        ) from error
    if missing := sorted(found["missing_keys"]):
        raise UserError(
            f"The GGUF file '{file}' lacks {counted(len(missing), 'weight')} of a '{header.architecture}' "
            f"({', '.join(missing[:3])}), which would be random. Fetch the file again, or give another one."
        )
    # Without these it is an ordinary model, which can be saved.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model, tokenizer
