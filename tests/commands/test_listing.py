"""What `cmt list` shows comes from the yaml files' header comments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cmt_cli.commands import listing
from cmt_cli.config import catalog
from cmt_cli.core.exceptions import UserError


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """Two methods and two streams, of which one has no meta-training episodes."""
    files = {
        "method/meta.yaml": "# family: amortized\n# paper: A title\n#    in two lines\n# needs: documents, episodes\n",
        "method/plain.yaml": "# family: sequential\n# needs: nothing\n# Fine-tuning. Task after task.\nlr: 1\n",
        "data/news.yaml": "# kind: documents+episodes\n# Dated news.\npath: x\n# later: not a fact\n",
        "data/labels.yaml": "# kind: labelled\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_header_comments_are_facts_and_the_first_other_line_says_what_it_is(conf: Path) -> None:
    assert catalog.header_facts(conf / "method" / "meta.yaml") == {
        "family": "amortized",
        "paper": "A title in two lines",
        "needs": "documents, episodes",
    }
    assert catalog.header_facts(conf / "method" / "plain.yaml")["about"] == "Fine-tuning. Task after task."
    assert "later" not in catalog.header_facts(conf / "data" / "news.yaml")


def test_matrix_gives_the_reason_for_every_pair_that_cannot_run(conf: Path) -> None:
    rows = {row["name"]: row for row in listing.matrix([conf])}
    assert rows["plain"] == {"name": "plain", "news": "yes", "labels": "yes"}
    assert rows["meta"]["news"] == "yes"
    assert rows["meta"]["labels"] == "meta needs documents and episodes, which labels (labelled) does not have"


def test_a_method_is_listed_with_the_kinds_of_stream_that_it_fits(conf: Path) -> None:
    rows = {row["name"]: row["streams"] for row in listing.rows("methods", [conf])}
    assert rows == {"meta": "documents", "plain": "documents, labelled"}


def test_json_is_for_programs(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing.show("methods", [conf], as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["meta", "plain"]
    assert rows[0]["family"] == "amortized"


def test_table_names_every_option(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing.show("data", [conf], as_json=False)
    out = capsys.readouterr().out
    assert "news" in out and "labels" in out and "documents+episodes" in out


def test_an_unknown_list_names_the_nearest(conf: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'methods'"):
        listing.rows("method", [conf])


def test_the_first_folder_that_has_a_name_wins(conf: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    mine = tmp_path_factory.mktemp("mine")
    (mine / "method").mkdir()
    (mine / "method" / "plain.yaml").write_text("# family: other\n")
    (mine / "method" / "own.yaml").write_text("# family: own\n")
    found = {option.name: option.facts["family"] for option in catalog.options("method", [conf, mine])}
    assert found == {"meta": "amortized", "own": "own", "plain": "sequential"}
