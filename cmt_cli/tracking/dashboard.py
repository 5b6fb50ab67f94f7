"""The dashboard of a W&B project: a saved view whose panels read what `tracking/logger.py` writes.

Runs are grouped by `group`, which is `<method>-<data>-<model>`, so a line is a method's mean over seeds and its band
their standard deviation. docs/wandb.md names every key. `wandb-workspaces` (the extra `dashboards`) builds the view;
without a server the same view is written as JSON.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from cmt_cli.core.atomic import write_json
from cmt_cli.core.exceptions import UserError

NAME = "cmt: methods side by side"
BARS = {
    "final/aa": "Average score at the end (AA)",
    "final/fgt": "Forgetting (FGT), lower is better",
    "final/bwt": "Backward transfer (BWT)",
    "final/retention": "Retention of the first task",
}
CURVES = {
    "cl/aa/{metric}": "Mean over what is learned so far",
    "cl/retention/{metric}": "Retention of the first task",
    "cl/forgetting/{metric}": "Forgetting so far, lower is better",
}
COSTS = {
    "cost/train_seconds": "training (s)",
    "cost/tokens": "tokens",
    "cost/storage_bytes": "stored bytes",
    "cost/answer_ms_per_question": "answer (ms)",
}
COLUMNS = ("config:data_source", "config:data_split", *(f"summary:{key}" for key in BARS), "summary:status")
_GROUPED = {"groupby": "Group", "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}


def workspace(project: str, entity: str, *, metric: str) -> Any:
    """Return the view, unsaved; raise UserError where the extra is not installed."""
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as views
    except ImportError as error:
        raise UserError(
            "Dashboards are built by the package wandb-workspaces, which is not installed: "
            "pip install 'cmt-cli[dashboards]'."
        ) from error
    bars = [
        panels.BarPlot(title=title, metrics=[panels.SummaryMetric(key)], orientation="h", **_GROUPED)
        for key, title in BARS.items()
    ]
    curves = [
        panels.LinePlot(title=title, x="task_index", y=[key.format(metric=metric)], title_x="tasks learned", **_GROUPED)
        for key, title in CURVES.items()
    ]
    costs = [
        panels.ScatterPlot(
            title=f"AA against {title}",
            x=panels.SummaryMetric(key),
            y=panels.SummaryMetric("final/aa"),
            log_x=True,
        )
        for key, title in COSTS.items()
    ]
    pictures = [panels.MediaBrowser(title="Score matrices and tests", media_keys=["plots/score_matrix", "plots/tests"])]
    tables = [panels.WeavePanelSummaryTable(table_name=name) for name in ("tables/predictions", "tables/score_matrix")]
    training = [panels.LinePlot(title="Training loss", x="train/step", y=["train/loss"], **_GROUPED)]
    sections = {
        "Methods": bars,
        "Over the stream": curves,
        "Score against cost": costs,
        "Score matrices": pictures,
        "Predictions": tables,
        "Training": training,
    }
    return views.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[views.Section(name=name, panels=found, is_open=True) for name, found in sections.items()],
        settings=views.WorkspaceSettings(max_runs=100),
        runset_settings=views.RunsetSettings(
            groupby=[views.Metric("Group")],
            order=[views.Ordering(views.Summary("final/aa"), ascending=False)],
            pinned_columns=["run:displayName", *COLUMNS],
        ),
    )


def write_spec(view: Any, path: Path) -> None:
    """Write what saving the view would send; raise UserError where the file cannot be written."""
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"The dashboard cannot be written to '{path}': name a file in a folder that exists.")
    model = view._to_model()  # the package has no public way to see a view without saving it
    spec = json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
    write_json(path, {"entity": view.entity, "project": view.project, "name": view.name, "spec": spec})


def save(project: str, entity: str | None, *, metric: str, seconds: float) -> str:
    """Save the view on the server and return its address; raise UserError where that fails or takes too long.

    Without an entity it is the login's default one.
    """
    done: dict[str, str] = {}

    def save_view() -> None:
        import wandb

        try:
            owner = entity or wandb.Api(timeout=int(seconds)).default_entity
            done["url"] = workspace(project, owner, metric=metric).save().url
        except Exception as error:  # the client raises direct subclasses of Exception from its private modules
            done["error"] = (
                f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
            )

    thread = threading.Thread(target=save_view, daemon=True)  # the client retries for minutes; nobody waits for that
    thread.start()
    thread.join(seconds)
    if "url" not in done:
        raise UserError(f"The dashboard was not saved: {done.get('error', f'no answer within {seconds:g} s')}.")
    return done["url"]
