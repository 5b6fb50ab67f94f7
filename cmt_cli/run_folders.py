"""Finding run folders by path or by name, without opening them."""

from __future__ import annotations

from pathlib import Path

from cmt_cli.core.errors import UserError, nearest

RUNS = Path("runs")  # the default of paths.runs


def find_run(text: str) -> Path:
    """Return the folder of a run given by path, or by name under `runs/`; raise UserError where there is none."""
    for folder in (Path(text), RUNS / text):
        if (folder / "config.yaml").is_file():
            return folder
    if Path(text).is_dir():
        raise UserError(f"{text} is not a run folder: it has no config.yaml. Runs here: {_listed()}.")
    raise UserError(f"{text}: there is no such run.{nearest(text, run_names())} Runs here: {_listed()}.")


def run_names(runs: Path = RUNS) -> list[str]:
    """Return the names of the runs in a folder, the latest first."""
    if not runs.is_dir():
        return []
    found = [folder for folder in runs.iterdir() if (folder / "config.yaml").is_file()]
    return [folder.name for folder in sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)]


def _listed() -> str:
    names = run_names()
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more or "none yet in runs/"
