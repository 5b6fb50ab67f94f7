"""General abilities by tasks of lm-evaluation-harness (Gao et al. 2021, doi 10.5281/zenodo.5371628).

The harness builds the questions and computes the scores; a method's predictor answers, adapter, prompts and memory
included, as it answers the stream's own questions. Questions are running text, as the harness asks a model by
default, without a chat template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.core.learner import Learner
from cmt_cli.core.process_group import SINGLE_PROCESS, ProcessGroup
from cmt_cli.evaluation.evaluator import TestScore
from cmt_cli.evaluation.probes import Facts, Probes

if TYPE_CHECKING:
    from cmt_cli.probes.harness_tasks import HarnessTasks

ROWS = ("all", "ends")
INSTALL = "pip install 'cmt-cli[lm-eval]'"


class LmEval(Probes):
    """Asks tasks of lm-evaluation-harness."""

    def __init__(
        self,
        *,
        tasks: Sequence[str],
        include_path: str | None,
        num_fewshot: int | None,
        limit: int | float | None,
        metric: str | Mapping[str, str] | None,
        rows: str,
        batch_size: int,
        seed: int,
        trust_code: bool,
    ) -> None:
        """Take the tasks by name or file; see conf/probes/lm_eval.yaml. Raises UserError for what cannot be asked."""
        if not tasks:
            raise UserError("probes.tasks names no task. Give at least one, or probes=none.")
        if rows not in ROWS:
            raise UserError(f"probes.rows={rows} is not one of {', '.join(ROWS)}.{nearest(rows, ROWS)}")
        if limit is not None and not (0 < limit < 1 or (limit >= 1 and int(limit) == limit)):
            raise UserError(f"probes.limit={limit} is neither a number of questions nor a share below 1 of them.")
        if batch_size < 1:
            raise UserError(f"probes.batch_size={batch_size} must be at least 1.")
        if num_fewshot is not None and num_fewshot < 0:
            raise UserError(f"probes.num_fewshot={num_fewshot} must be at least 0, or null for each task's own number.")
        self.tasks = tuple(tasks)
        self.include_path = include_path
        self.num_fewshot = num_fewshot
        self.limit = limit
        self.metric = metric
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.trust_code = trust_code
        self._loaded: HarnessTasks | None = None
        self._facts: Facts = {}

    @override
    def prepare(self) -> Facts:
        """Load the tasks with their data, which may be downloaded, and build all questions once.

        Raises UserError where the harness is not installed, a task is unknown, or data cannot be had.
        """
        if self._loaded is not None:
            return self._facts
        try:
            import lm_eval  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError(f"probes=lm_eval needs the package '{error.name}': {INSTALL}") from error
        from cmt_cli.probes.harness_tasks import HarnessTasks

        self._loaded = HarnessTasks.load(
            self.tasks,
            include_path=self.include_path,
            num_fewshot=self.num_fewshot,
            limit=self.limit,
            seed=self.seed,
            trust_code=self.trust_code,
        )
        self._facts = self._loaded.facts(self._metric_of)
        return self._facts

    @override
    def evaluate(
        self,
        predictor: Predictor,
        learner: Learner,
        *,
        row: int,
        num_rows: int,
        progress: Callable[[str, int, int], None],
        stop_requested: Callable[[], bool],
        processes: ProcessGroup = SINGLE_PROCESS,
    ) -> Sequence[TestScore]:
        """Ask all tasks, or none in a row that `rows` leaves out; the random generators are afterwards as they were."""
        if self.rows == "ends" and row not in (0, num_rows - 1):
            return []
        from cmt_cli.probes.harness_model import HarnessModel

        assert self._loaded is not None, "prepare comes first"
        model = HarnessModel(
            predictor,
            learner,
            batch_size=self.batch_size,
            asks_greedy=self._loaded.asks_greedy,
            progress=progress,
            stop_requested=stop_requested,
            processes=processes,
        )
        return self._loaded.scores(model, self._metric_of)

    def _metric_of(self, column: str) -> str | None:
        """Return the metric that the settings choose for a column, None for its own first one."""
        return self.metric.get(column) if isinstance(self.metric, Mapping) else self.metric
