"""A run gives the same folder, byte for byte, whether its stream comes from the files or from the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.commands import app
from cmt_cli.data.classification import banking77
from cmt_cli.data.files import stream_cache
from cmt_cli.data.world.intents import Intents

SMALL = (
    "data=banking77",
    "data.path=bank",
    "data.num_tasks=2",
    "trainer=smoke",
    "trainer.max_steps=2",
    "logger=none",
    "model=tiny",
    "model.device=cpu",
    "evaluator.decoding.max_new_tokens=2",
    "evaluator.max_examples_per_test=2",
)


def results(runs: str, *settings: str) -> dict[str, bytes]:
    """Run, and return what its scores rest on: the files by name, with the folder's."""
    with pytest.raises(SystemExit) as left:
        app.main(("run", *SMALL, *settings, f"paths.runs={runs}"))
    assert left.value.code == 0
    (folder,) = (path.parent for path in Path(runs).glob("*/result.json"))
    files = [folder / "scores.csv", *(folder / "predictions").iterdir()]
    states = sorted((folder / "checkpoint").rglob("*.safetensors"))
    assert states
    return {f"{folder.name}/{file.relative_to(folder)}": file.read_bytes() for file in [*files, *states]}


def test_scores_predictions_and_weights_ignore_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bank").mkdir()
    banking77.write(Path("bank"), Intents(num_train=10, num_validation=1, num_test=2, seed=0).corpus())
    monkeypatch.setenv("CMT_CACHE", str(tmp_path / "cache"))
    uncached = results("uncached", "method=replay")
    assert not (tmp_path / "cache" / "streams").exists()
    monkeypatch.setattr(stream_cache, "MIN_BYTES", 1)
    assert results("first", "method=replay") == uncached
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert len({path.parent for path in kept}) >= 3  # the stream and the tokens of both tasks
    monkeypatch.setattr(banking77, "read", lambda path: pytest.fail("the files were read again"))
    assert results("second", "method=replay") == uncached
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in kept}.items()
