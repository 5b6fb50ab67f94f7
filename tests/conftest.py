"""Fixtures that every test may use: learners around tiny random checkpoints, one thread, no network."""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub client is imported
os.environ.setdefault("WANDB_MODE", "offline")

import torch

from cmt_cli.core.learner import Learner
from tests.models.checkpoints import FAMILIES, POSITIONS, load_checkpoint, save_checkpoint


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print as into a pipe, whatever the terminal that the tests are started from says."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own; what the command line hooks into the process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CMT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    for library in ("HF_HUB", "HF_DATASETS"):
        monkeypatch.setenv(f"{library}_DISABLE_PROGRESS_BARS", "1")
    return tmp_path


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of saved random checkpoints by family: llama, gpt2, qwen2, qwen3."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: save_checkpoint(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="session")
def make_learner(checkpoints: dict[str, Path]) -> Callable[[str], Learner]:
    """Return a function from a family's name to a fresh learner that a test may change as it likes."""
    loaded: dict[str, Learner] = {}

    def make(family: str) -> Learner:
        if family not in loaded:
            loaded[family] = load_cpu(checkpoints[family])
        learner = copy.copy(loaded[family])
        learner.model = copy.deepcopy(learner.model)
        learner._unfrozen = []  # the copy is shallow
        return learner

    return make


def load_cpu(folder: Path) -> Learner:
    return load_checkpoint(folder, dtype="fp32", max_tokens=POSITIONS)


@pytest.fixture(params=list(FAMILIES))
def any_learner(request: pytest.FixtureRequest, make_learner: Callable[[str], Learner]) -> Learner:
    """A fresh learner of each family in turn."""
    return make_learner(request.param)


@pytest.fixture
def tiny_llama(make_learner: Callable[[str], Learner]) -> Learner:
    """A fresh Llama with grouped queries, a start token and untied embeddings."""
    return make_learner("llama")


@pytest.fixture
def tiny_gpt2(make_learner: Callable[[str], Learner]) -> Learner:
    """A fresh GPT-2: absolute positions, tied embeddings, no start token."""
    return make_learner("gpt2")


@pytest.fixture
def tiny_qwen(make_learner: Callable[[str], Learner]) -> Learner:
    """A fresh Qwen 3: grouped queries, normalized queries and keys, its own head width."""
    return make_learner("qwen3")
