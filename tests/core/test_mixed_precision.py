"""What "auto" computes in follows the device, the CPU's instructions and the model's size."""

from __future__ import annotations

import pytest
import torch
import yaml

from cmt_cli.config import catalog
from cmt_cli.core import mixed_precision
from cmt_cli.core.mixed_precision import MAX_EMBEDDED_PARAMETERS, automatic_dtype, cpu_bf16

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LARGE = MAX_EMBEDDED_PARAMETERS + 1


def test_a_cpu_with_bf16_computes_larger_models_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_precision, "cpu_bf16", lambda: ("amx_bf16",))
    assert automatic_dtype(CPU, LARGE) == torch.bfloat16
    assert automatic_dtype(CPU, MAX_EMBEDDED_PARAMETERS) == torch.float32
    monkeypatch.setattr(mixed_precision, "cpu_bf16", lambda: ())
    assert automatic_dtype(CPU, LARGE) == torch.float32


def test_cuda_computes_every_model_in_bf16() -> None:
    assert automatic_dtype(CUDA, 1) == automatic_dtype(CUDA, LARGE) == torch.bfloat16


def test_the_bound_is_that_of_the_size_class() -> None:
    size = yaml.safe_load((catalog.conf_dir() / "size" / "embedded.yaml").read_text())
    assert float(size["num_parameters"][1]) == MAX_EMBEDDED_PARAMETERS


def test_the_cpus_flags_are_known_ones() -> None:
    assert set(cpu_bf16()) <= {"avx512_bf16", "amx_bf16"}
