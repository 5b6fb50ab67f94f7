"""The notebook runs from its first cell to its last, with the settings of a run of seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from tests.docs.pages import ROOT

NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
SMALL = (
    "trainer=smoke",
    "model.device=cpu",
    "data.num_tasks=2",
    "data.generated.num_train_documents=8",
    "data.generated.num_validation_documents=2",
    "data.generated.num_test_documents=4",
    "evaluator.decoding.max_new_tokens=3",
)


untyped: Any = nbformat  # its functions have no annotations


def text_of(cell: Any) -> str:
    """Return what a cell printed and returned."""
    printed = [output.get("text", "") for output in cell.outputs if output.output_type == "stream"]
    returned = [output["data"].get("text/plain", "") for output in cell.outputs if "data" in output]
    return "".join(printed) + "".join(returned)


@pytest.mark.slow
def test_the_notebook_runs(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = untyped.read(NOTEBOOK, as_version=4)
    cells = {cell.id: cell for cell in notebook.cells}
    assert "parameters" in cells["settings"].metadata["tags"]
    cells["settings"].source = f"SETTINGS = {SMALL!r}"
    where = {"metadata": {"path": str(empty_folder)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    assert "complete generated" in text_of(cells["metrics"])
    assert "Figure" in text_of(cells["plot"])
    assert "doc-" in text_of(cells["ask"])
    assert len(list((empty_folder / "runs").glob("*-streamingqa-generated-tiny-*"))) == 2
