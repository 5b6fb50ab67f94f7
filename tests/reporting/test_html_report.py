"""A report is one file that holds its runs, refuses what it cannot show, and lets no text become markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.commands.app import main
from cmt_cli.core.exceptions import UserError
from cmt_cli.reporting import paper_figures
from cmt_cli.reporting.content import build
from cmt_cli.reporting.html_report import compared, write_report
from cmt_cli.reporting.page import escaped_json
from cmt_cli.sweeps.folder import JobRecord, Plan, SweepFolder
from tests.reporting.runs import ROWS, write_run

EVIL = "</script><img src=x onerror=alert(1)><!-- \u2028 {{script}} & \"quoted\" 'so'"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in (0, 1):
        write_run(tmp_path / "runs" / f"ewc-{seed}", "ewc", seed=seed, settings={"strength": 2.0})
        better = tuple(tuple(min(1.0, (v or 0.0) + 0.05 * (seed + 1)) for v in row) for row in ROWS)
        write_run(tmp_path / "runs" / f"cmt-{seed}", "cmt", seed=seed, rows=better)
    write_run(tmp_path / "runs" / "real", "cmt", source="real")
    write_run(tmp_path / "runs" / "stopped", "cmt", seed=7, status="failed")
    return tmp_path / "runs"


def island(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_content_holds_methods_seeds_and_their_spread(runs: Path) -> None:
    content, keys = build(compared([runs]), cmt="0", created="")
    generated, real = content["sections"]
    assert (generated["source"], real["source"]) == ("generated", "real")
    cmt, ewc = generated["methods"]
    assert (cmt["name"], cmt["seeds"], cmt["runs"]) == ("cmt", [0, 1], ["cmt.0", "cmt.1"])
    assert ewc["scores"]["em"]["aa"] == {"mean": 0.7, "sd": 0.0, "values": [0.7, 0.7]}
    assert ewc["scores"]["em"]["learning_accuracy"]["mean"] == pytest.approx(2.6 / 3, abs=1e-5)
    assert ewc["scores"]["f1"]["fgt"]["mean"] == pytest.approx(0.125)
    assert cmt["mean"]["em"][1] == pytest.approx([0.975, 0.175, 0.175])
    assert ewc["cost"]["train_seconds"] == {"mean": 15.0, "sd": pytest.approx(7.07107), "values": [10.0, 20.0]}
    assert ewc["config"] == {
        "method._target_": "ewc",
        "method.rank": "8",
        "method.strength": "2.0",
        "trainer.batch_size": "16",
    }
    assert [key.folder.name for key in keys] == ["cmt-0", "cmt-1", "ewc-0", "ewc-1", "real"]
    assert content["left_out"] == [{"run": "stopped", "status": "failed", "error": None}]


def test_the_page_is_one_file_without_any_address(runs: Path, tmp_path: Path) -> None:
    written = write_report(compared([runs]), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert (written.num_runs, written.num_predictions) == (5, 5 * 48)
    assert island(page)["sections"][0]["label"] == "GENERATED data"
    assert set(re.findall(r"https?://[^\s\"'<]*", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(
        r"(src|href|url\()=?[\"']?(?!data:,|#main)\w+[:/.]", re.sub(r"<script.*?</script>", "", page, flags=re.S)
    )


def test_only_the_page_s_own_script_and_style_may_run(runs: Path, tmp_path: Path) -> None:
    write_report(compared([runs]), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None and "default-src &#x27;none&#x27;" in policy[1] and "unsafe" not in policy[1]
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src &#x27;sha256-{digest}&#x27;" in policy[1]


def test_names_and_texts_stay_data(tmp_path: Path) -> None:
    write_run(
        tmp_path / "runs" / "a", EVIL, answer=lambda *_: (EVIL, 0.0), prompt=EVIL.replace("{", "(").replace("}", ")")
    )
    write_report(compared([tmp_path / "runs"]), tmp_path / "report.html", title=EVIL)
    page = (tmp_path / "report.html").read_text()
    assert "<img" not in page and "onerror=alert(1)>" not in page
    assert island(page)["sections"][0]["methods"][0]["method"] == EVIL
    assert "\u2028" not in escaped_json(EVIL) and json.loads(escaped_json(EVIL)) == EVIL


def test_the_same_runs_give_the_same_page(runs: Path, tmp_path: Path) -> None:
    pages = []
    for name in ("one", "other"):
        write_report(compared([runs]), tmp_path / name)
        pages.append(re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", (tmp_path / name).read_text()))
    assert pages[0] == pages[1]


def test_what_cannot_be_shown_is_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs a complete run.*stopped is failed"):
        compared([runs / "stopped"])
    with pytest.raises(UserError, match=r"--examples al: allowed are all, final, none. Did you mean 'all'"):
        write_report(compared([runs]), tmp_path / "r.html", rows="al")
    with pytest.raises(UserError, match=r"'.*nowhere' does not exist"):
        write_report(compared([runs]), tmp_path / "nowhere" / "r.html")
    with pytest.raises(UserError, match="it is a folder"):
        write_report(compared([runs]), tmp_path)


def test_a_sweep_s_folder_stands_for_its_runs(runs: Path, tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "sweep")
    cells = (("method=ewc",), ("method=cmt",), ("method=mac",))
    sweep.create(Plan(("method=ewc,cmt,mac",), (), "basic", "basic", cells, str(tmp_path), None, 0.0))
    with pytest.raises(UserError, match="a sweep without runs: of 3 jobs none has begun"):
        compared([sweep.path])
    sweep.write(JobRecord(cells[0], "complete", folder=str(runs / "ewc-0")))
    sweep.write(JobRecord(cells[1], "complete", folder=str(runs / "cmt-0")))
    (section,) = compared([sweep.path]).sections
    assert {line.method for line in section.lines} == {"ewc", "cmt"}


def test_the_command_says_what_it_wrote(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(runs / name) for name in ("ewc-0", "cmt-0", "stopped")]
    with pytest.raises(SystemExit) as ended:
        main(["report", *given, "-o", str(tmp_path / "r.html"), "--examples", "final"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert "r.html: 2 runs, 24 predictions" in out and "stopped is failed" in out


def test_figures_are_vectors_with_fonts_that_journals_take(runs: Path, tmp_path: Path) -> None:
    paths = paper_figures.draw(compared([runs / "ewc-0"]), tmp_path / "pdf", kind="pdf")
    names = ("so_far", "by_age", "forgotten", "cost", "stability_plasticity", "matrix_ewc")
    assert [path.name for path in paths] == [f"toy-GENERATED-data_{name}.pdf" for name in names]
    for path in paths:
        content = path.read_bytes()
        assert content.startswith(b"%PDF") and b"/Type3" not in content and b"/FontFile2" in content
        assert b"CreationDate" not in content


def test_missing_cells_and_formulas_in_names_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_figures, "_CURVES", {})
    write_run(tmp_path / "a", "a$x_{$", rows=((None, None, 0.1), *ROWS[1:]))
    paths = paper_figures.draw(compared([tmp_path]), tmp_path / "png", kind="png")
    assert len(paths) == 3 and all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    with pytest.raises(UserError, match="it is a file"):
        paper_figures.draw(compared([tmp_path]), paths[0], kind="png")
