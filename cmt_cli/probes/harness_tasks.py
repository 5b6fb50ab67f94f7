"""Tasks of lm-evaluation-harness, loaded with their data; the only place that calls the harness."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import jinja2
import numpy as np
import yaml
from lm_eval.api import metrics as _registered  # noqa: F401  fills the registry
from lm_eval.api import task as task_module
from lm_eval.api.registry import metric_registry
from lm_eval.evaluator import evaluate, get_sample_size
from lm_eval.tasks import TaskManager

from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.evaluation.evaluator import TestScore
from cmt_cli.probes.harness_code import no_downloaded_code, refuse_unsafe
from cmt_cli.probes.harness_scores import Column, column_score, metrics_of
from cmt_cli.probes.task_files import checked_file, files_below, is_file, refuse_code
from cmt_cli.training.seeding import generator_state, restore_generators, seed_generators

PACKAGE = Path(task_module.__file__).resolve().parents[1]
ChosenMetric = Callable[[str], str | None]  # by the name of a column
# What a task file that is not as the harness expects makes it raise, and its data, and templates that do not fit them.
_MISTAKES = (KeyError, ValueError, TypeError, AttributeError, AssertionError, IndexError, OSError, RuntimeError)
_MISTAKES_OF_FILES = (*_MISTAKES, yaml.YAMLError, jinja2.TemplateError)


@dataclass(frozen=True, slots=True)
class HarnessTasks:
    """Loaded tasks and groups by name, the columns that they make, and how they are asked."""

    tasks: Mapping[str, Any]
    groups: Mapping[str, Any]
    columns: tuple[Column, ...]
    limit: int | float | None
    seed: int
    trust_code: bool

    @classmethod
    def load(
        cls,
        names: Sequence[str],
        *,
        include_path: str | None,
        num_fewshot: int | None,
        limit: int | float | None,
        seed: int,
        trust_code: bool,
    ) -> HarnessTasks:
        """Load tasks by name or file; raise UserError where one is unknown, wants trust or has no data here."""
        files = {name: checked_file(name) for name in names if is_file(name)}
        included = files_below(include_path) if include_path is not None else []
        if not trust_code:
            refuse_code([*files.values(), *included], metrics=frozenset(metric_registry), own=PACKAGE)
        with _quiet(), _seeded(seed):
            by_name = len(files) < len(names) or _has_group(files)  # reading the harness's own takes seconds
            manager = TaskManager(include_path=include_path, include_defaults=by_name)
            tasks: dict[str, Any] = {}
            groups: dict[str, Any] = {}
            columns: list[Column] = []
            for name in names:
                if not trust_code:
                    refuse_unsafe(name, files.get(name), manager.task_index)
                with no_downloaded_code(name, trust_code):
                    loaded = _loaded(manager, name, files.get(name))
                own_groups = loaded.get("groups", {})
                if twice := sorted({*loaded["tasks"]} & {*tasks}):
                    raise UserError(f"probes.tasks: '{name}' brings '{twice[0]}', which another of them brings, too.")
                tasks |= loaded["tasks"]
                groups |= own_groups
                columns += _columns(loaded["tasks"], own_groups)
            for task in tasks.values():
                _set_fewshot(task, num_fewshot)
        return cls(tasks, groups, tuple(columns), limit, seed, trust_code)

    def facts(self, metric_of: ChosenMetric) -> dict[str, dict[str, Any]]:
        """Return what a record says of each column: its metric, what is asked, and the hash of all questions."""
        chosen = {column.name: column.chosen(metric_of(column.name)) for column in self.columns}
        with _quiet(), _seeded(self.seed):
            hashes = {name: self._questions_sha256(name, task) for name, task in self.tasks.items()}
        found = {}
        for column in self.columns:
            own = [self.tasks[name] for name in column.tasks]
            digest = hashlib.sha256("".join(hashes[name] for name in column.tasks).encode())
            found[column.name] = {
                "harness": "lm_eval",
                "metric": chosen[column.name],
                "better_if_larger": dict(column.metrics),
                "versions": {name: str(task.VERSION) for name, task in zip(column.tasks, own, strict=True)},
                "num_fewshot": {name: task.config.num_fewshot for name, task in zip(column.tasks, own, strict=True)},
                "limit": self.limit,
                "num_questions": sum(len({i.doc_id for i in task.instances}) for task in own),
                "num_available": sum(len(task.eval_docs) for task in own),
                "sha256": digest.hexdigest(),
            }
        return found

    def asks_greedy(self, task: str) -> bool:
        """Say whether a task uses what the model would say by itself, besides likelihoods."""
        config = self.tasks[task].config
        named = {str(metric.get("metric")) for metric in config.metric_list or ()}
        return config.output_type != "multiple_choice" or config.process_results is not None or "exact_match" in named

    def scores(self, model: Any, metric_of: ChosenMetric) -> list[TestScore]:
        """Ask all tasks with the same questions as ever; return the scores of the columns."""
        with _quiet(), _seeded(self.seed), no_downloaded_code(", ".join(self.tasks), self.trust_code):
            for task in self.tasks.values():
                task.set_fewshot_seed(self.seed)
            found = evaluate(
                model,
                {"tasks": dict(self.tasks), "groups": dict(self.groups)},
                limit=self.limit,
                bootstrap_iters=0,
                log_samples=True,
                confirm_run_unsafe_code=self.trust_code,
            )
        results, samples = found["results"], found["samples"]
        return [
            column_score(column, column.chosen(metric_of(column.name)), results[column.name], samples)
            for column in self.columns
        ]

    def _questions_sha256(self, name: str, task: Any) -> str:
        task.set_fewshot_seed(self.seed)
        try:
            task.build_all_requests(limit=get_sample_size(task, self.limit))
            asked = [
                [instance.request_type, *instance.args, task.doc_to_target(instance.doc)] for instance in task.instances
            ]
        except _MISTAKES_OF_FILES as error:
            raise UserError(f"The questions of the probe '{name}' cannot be built: {_told(error)}") from error
        return hashlib.sha256(json.dumps(asked, default=str, ensure_ascii=False).encode()).hexdigest()


def _loaded(manager: Any, name: str, file: Path | None) -> dict[str, Any]:
    """Load one task, group or tag with the data of its tasks."""
    if file is None and name not in manager.task_index:
        raise UserError(
            f"probes.tasks: lm-evaluation-harness has no task, group or tag '{name}'."
            f"{nearest(name, manager.all_tasks)} `lm-eval ls tasks` lists all; a task of your own is given by its "
            f"file, {name}.yaml, or found in probes.include_path."
        )
    try:
        return dict(manager.load([name if file is None else str(file)]))
    except UserError:
        raise
    except _MISTAKES_OF_FILES as error:
        where = "" if file is None else f" ('{file}')"
        if isinstance(error, OSError):
            raise UserError(
                f"The data of the probe '{name}'{where} cannot be had: {_told(error)}. Repeat with a network "
                "connection, which keeps them for later runs without one, or give a task file of your own with local "
                "data (dataset_path: json, dataset_kwargs: {data_files: ...})."
            ) from error
        raise UserError(f"The probe '{name}'{where} cannot be loaded: {_told(error)}") from error


def _columns(tasks: Mapping[str, Any], groups: Mapping[str, Any]) -> list[Column]:
    """Return the column of a group that has a score of its own, otherwise one for each task."""
    if groups:
        top = next(iter(groups.values()))
        if top.has_aggregation:
            better: dict[str, bool | None] = {}
            for task in tasks.values():
                better |= task.higher_is_better()
            metrics: dict[str, bool] = {}
            for listed in top.aggregate_metric_list:
                own = {listed.metric: better.get(listed.metric)}
                metrics |= metrics_of(own, listed.filter_list or ["none"])
            return [Column(top.name, tuple(tasks), metrics)]
    return [Column(name, (name,), metrics_of(task.higher_is_better(), _filters(task))) for name, task in tasks.items()]


def _filters(task: Any) -> list[str]:
    return [own.name for own in task._filters]


def _has_group(files: Mapping[str, Path]) -> bool:
    """Say whether a task file is of a group, whose members may be tasks of the harness."""
    return any("group:" in path.read_text(encoding="utf-8") for path in files.values())


def _set_fewshot(task: Any, num_fewshot: int | None) -> None:
    """Set the number of examples as the harness's command line does: a task that says 0 keeps 0."""
    own = task.config.num_fewshot
    if num_fewshot is not None and own != 0:
        task.set_config(key="num_fewshot", value=num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators, which tasks may draw from, and leave them as they were."""
    torch_state, numpy_state = generator_state(), np.random.get_state()
    seed_generators(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        restore_generators(torch_state)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the harness from writing to the terminal, where a run shows its own progress."""
    logger = logging.getLogger("lm_eval")
    level, bars, shows_bars = logger.level, task_module.tqdm, not datasets.are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    task_module.tqdm = lambda items, **settings: items
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        task_module.tqdm = bars
        if shows_bars:
            datasets.enable_progress_bars()
