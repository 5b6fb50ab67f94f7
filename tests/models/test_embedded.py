"""The embedded model needs no network, no account and no setting."""

from pathlib import Path

import pytest
import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.models import embedded


def test_the_embedded_model_loads_frozen_and_names_its_weights() -> None:
    learner = embedded.load(device="cpu", dtype="fp32", embedded=True)
    assert learner.name == "tiny"
    assert len(learner.revision) == 12
    assert learner.trainable() == []
    assert {p.dtype for p in learner.model.parameters()} == {torch.float32}
    assert learner.decode(learner.encode("Any text passes: größer, 東京, 🎉")) == "Any text passes: größer, 東京, 🎉"


def test_missing_weights_are_a_readable_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "EMBEDDED", Path("no-such-folder"))
    with pytest.raises(UserError, match=r"no-such-folder/model.safetensors does not exist"):
        embedded.load(device="cpu", dtype="fp32", embedded=True)
