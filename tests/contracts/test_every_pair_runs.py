"""Every method runs on every stream that `cmt list matrix` allows it, from the configuration to the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from cmt_cli.commands import listing
from cmt_cli.config import catalog, compose
from cmt_cli.running import job_run
from cmt_cli.running.run_files import read_predictions, read_result
from tests.command_line import job

SMALLEST = (
    "model=tiny",
    "model.device=cpu",
    "trainer=smoke",
    "trainer.max_steps=1",
    "logger=none",
    "evaluator.max_examples_per_test=2",
    "evaluator.decoding.max_new_tokens=2",
)
SMALL_DOCUMENTS = (
    "data.generated.num_train_documents=8",
    "data.generated.num_validation_documents=2",
    "data.generated.num_test_documents=4",
)
SMALL_COUNTRIES = ("data.generated.num_countries=5", "data.generated.num_editions=2")
SMALL_SKILLS = ("data.sizes.num_train=8", "data.sizes.num_validation=2")
SMALL_LABELLED = ("data.limits.max_train=4", "data.limits.max_validation=1", "data.limits.max_test=2")
NUM_TASKS, NUM_EXAMPLES = 2, 2
MATRIX = listing.matrix([catalog.conf_dir()])
PAIRS = [(row["name"], data) for row in MATRIX for data, cell in row.items() if data != "name" and cell == "yes"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all pairs, so that each stand-in is written once."""
    return tmp_path_factory.mktemp("cache")


def small(data: str) -> list[str]:
    """Return the overrides that make a stream as small as it can be, by the keys that it has."""
    composed = compose.compose([f"data={data}"], [catalog.conf_dir()]).data
    settings: Any = OmegaConf.to_container(composed, resolve=False)
    of_documents = SMALL_COUNTRIES if "num_countries" in settings.get("generated", {}) else SMALL_DOCUMENTS
    found = list(SMALL_SKILLS if "sizes" in settings else SMALL_LABELLED if "limits" in settings else of_documents)
    if "source" in settings:
        found.append("data.source=generated")
    if "num_tasks" in settings:
        found.append(f"data.num_tasks={NUM_TASKS}")
    if isinstance(settings.get("order"), list):
        found.append(f"data.order=[{','.join(map(str, settings['order'][:NUM_TASKS]))}]")
    if settings.get("format", {}).get("max_new_tokens"):
        found.append("data.format.max_new_tokens=null")
    if {"orders", "stream"} <= settings.keys():  # published orders by name, of which `stream` chooses one
        order = settings["orders"][settings["stream"]][:NUM_TASKS]
        found.append(f"data.orders.{settings['stream']}=[{','.join(map(str, order))}]")
    return found


@pytest.mark.parametrize(("method", "data"), PAIRS, ids=lambda name: name)
def test_a_pair_allowed_by_the_matrix_runs_to_completion(method: str, data: str, cache: Path, tmp_path: Path) -> None:
    places = (f"paths.runs={tmp_path}", f"paths.data={tmp_path}", f"paths.cache={cache}")
    job_run.run(job(f"method={method}", f"data={data}", *SMALLEST, *small(data), *places))
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith(f"{method}-{data}-generated-tiny-")
    result = read_result(folder)
    assert result is not None and result.status == "complete"
    matrix = result.matrices[result.primary_metric]
    num_tests = len(matrix.tests)
    assert num_tests >= NUM_TASKS
    assert [len(row) for row in matrix.rows] == [num_tests] * (num_tests + 1)
    assert all(score is not None for row in matrix.rows for score in row)
    for row in range(num_tests + 1):
        assert len(read_predictions(folder, row)) == num_tests * NUM_EXAMPLES
    assert result.metrics["aa"].value is not None
