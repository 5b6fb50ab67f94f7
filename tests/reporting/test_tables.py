"""Tables of a comparison on a console: what does not fit beside each other stands below each other."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from cmt_cli.analysis.compare_runs import compare
from cmt_cli.analysis.comparison import Options
from cmt_cli.reporting.tables import print_comparison
from tests.running.toy import run_toy


def test_names_and_numbers_are_whole_at_80_columns(tmp_path: Path) -> None:
    run_toy(tmp_path / "a")
    file = io.StringIO()
    print_comparison(compare([tmp_path], Options()), Console(file=file, width=80))
    lines = file.getvalue().splitlines()
    assert "…" not in file.getvalue() and max(len(line.rstrip()) for line in lines) <= 80
    assert len([line for line in lines if line.startswith(" drift toy")]) == 2  # scores, then costs
