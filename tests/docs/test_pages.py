"""What the pages say can be typed: their commands parse, their overrides compose, their links lead somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cmt_cli.commands import app
from cmt_cli.config import catalog, check
from tests.docs.pages import PAGES, ROOT, code_lines, commands, links, name_of

TEMPLATES = ROOT / "templates"
COMMANDS = [(name_of(page), command) for page in PAGES for command in commands(page)]
RUNS = [(page, command) for page, command in COMMANDS if command[0] == "run"]
MAX_README_LINES = 120


def parsed(command: list[str]) -> dict[str, Any]:
    """Parse a command as the command line does, without running it; return its parameters."""
    context: Any = typer.main.get_command(app.app).make_context("cmt", list(command))
    while hasattr(context.command, "resolve_command"):
        _, found, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        context = found.make_context(found.name, rest, parent=context)
    return dict(context.params)


def label(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


@pytest.fixture
def in_a_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a copy of templates/ whose package is installed, with the folder `mine` of the page on Slurm."""
    (tmp_path / "conf").symlink_to(TEMPLATES / "conf")
    launchers = tmp_path / "mine" / "hydra" / "launcher"
    launchers.mkdir(parents=True)
    page = (ROOT / "docs" / "slurm.md").read_text(encoding="utf-8")
    ours = page.split("```yaml\n")[1].split("```")[0]
    assert "submitit_slurm" in yaml.safe_load(ours)["defaults"]
    (launchers / "ours.yaml").write_text(ours, encoding="utf-8")
    monkeypatch.syspath_prepend(str(TEMPLATES))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=label)
def test_commands_parse(page: str, command: list[str]) -> None:
    assert isinstance(parsed(command), dict)


@pytest.mark.usefixtures("in_a_users_folder")
@pytest.mark.parametrize(("page", "command"), RUNS, ids=label)
def test_overrides_compose(page: str, command: list[str]) -> None:
    given = parsed(command)
    check.check(check.Request(tuple(given["overrides"] or ()), given["multirun"], given["config_dir"]))


def test_commands_are_found() -> None:
    found = {page for page, _ in COMMANDS}
    assert {"README.md", "docs/quickstart.md", "docs/slurm.md", "templates/README.md"} <= found
    assert ["run", "method=cmt", "data=streamingqa"] in [command for _, command in COMMANDS]
    groups = {command[0] for _, command in COMMANDS}
    assert {"list", "show", "ask", "resume", "compare", "report", "runs", "metrics", "data", "sweep", "wandb"} <= groups


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    for target in links(page):
        assert (page.parent / target).exists(), target


def test_makefile_has_every_target_named() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {line.split()[1] for page in PAGES for line in code_lines(page) if line.startswith("make ")}
    assert "demo" in named and "test" in named
    for target in named:
        assert f"\n{target}:" in makefile, target


def test_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES


def test_every_stream_that_reads_files_is_described() -> None:
    page = (ROOT / "docs" / "data_files.md").read_text(encoding="utf-8")
    for option in catalog.options("data", [catalog.conf_dir()]):
        settings = option.path.read_text(encoding="utf-8")
        reader = yaml.safe_load(settings).get("_target_", "").rpartition(".")[0]
        assert f"`{option.name}`" in page or f"data={option.name}" in page or f"::: {reader}\n" in page, option.name
