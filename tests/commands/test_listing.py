"""What `cmt list` shows comes from the yaml files' header comments."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cmt_cli.commands import listing
from cmt_cli.commands.option_text import first_sentence, shortened
from cmt_cli.config import catalog
from cmt_cli.config.catalog import conf_dir
from cmt_cli.core.exceptions import UserError
from tests.command_line import cmt


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


def test_header_comments_are_facts_and_an_about_line(conf: Path) -> None:
    assert catalog.header_facts(conf / "method" / "meta.yaml") == {
        "family": "amortized",
        "paper": "A title in two lines",
        "needs": "documents, episodes",
    }
    assert catalog.header_facts(conf / "method" / "plain.yaml")["about"] == "Fine-tuning. Task after task."
    assert "later" not in catalog.header_facts(conf / "data" / "news.yaml")


def test_matrix_gives_a_reason_for_every_impossible_pair(conf: Path) -> None:
    rows = {row["name"]: row for row in listing.matrix([conf])}
    assert rows["plain"] == {"name": "plain", "news": "yes", "labels": "yes"}
    assert rows["meta"]["news"] == "yes"
    assert rows["meta"]["labels"] == "meta needs documents and episodes, which labels (labelled) does not have"


def test_methods_are_listed_with_the_stream_kinds_they_fit(conf: Path) -> None:
    rows = {row["name"]: row["streams"] for row in listing.rows("methods", [conf])}
    assert rows == {"meta": "documents", "plain": "documents, labelled"}


def test_json_is_for_programs(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing.show("methods", [conf], as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["meta", "plain"]
    assert rows[0]["family"] == "amortized"


def test_a_list_is_grouped_one_line_an_entry(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing.show("methods", [conf], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["amortized", "  meta"]
    assert lines[2:4] == ["sequential", "  plain  Fine-tuning"]


@pytest.mark.parametrize("kind", [*catalog.KINDS, catalog.MATRIX])
def test_lists_fit_80_columns(kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    dirs = [catalog.conf_dir()]
    listing.show(kind, dirs, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    if kind in catalog.KINDS:
        entries = [line for line in lines if line.startswith("  ")]
        assert [len(entry.split(maxsplit=1)) for entry in entries] == [2] * len(listing.rows(kind, dirs))
        assert not [entry for entry in entries if "…" in entry]  # a first sentence that fits is a better one
        assert len({entry.split(maxsplit=1)[1] for entry in entries}) == len(entries)


@pytest.mark.parametrize("kind", catalog.KINDS)
def test_every_page_of_an_entry_fits_80_columns(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    dirs = [catalog.conf_dir()]
    for row in listing.rows(kind, dirs):
        listing.show(kind, dirs, name=row["name"], as_json=False)
        out = capsys.readouterr().out
        assert [line for line in out.splitlines() if len(line) > 80 and " " in line.strip()] == []
        assert f"={row['name']}" in out.split("Try:")[1]


def test_one_entry_shows_facts_settings_and_streams(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf / "method" / "plain.yaml").write_text(
        "# family: sequential\n# needs: nothing\n# About it.\n_target_: a.B\nlr: 1  # per step\nmark: '#'\nsize: ???\n"
    )
    listing.show("methods", [conf], name="plain", as_json=False)
    out = capsys.readouterr().out
    assert out.startswith("plain (sequential)\nAbout it.\n")
    assert re.search(r"streams +all \(2 of 2\)", out) and re.search(r"lr: 1 +per step\n", out)
    assert "mark: '#'\n" in out and "_target_" not in out
    assert "Try: cmt run method=plain data=labels method.size=..." in out
    listing.show("methods", [conf], name="plain", as_json=True)
    row = json.loads(capsys.readouterr().out)
    assert row["settings"][0] == {"text": "lr: 1", "comment": "per step"} and row["family"] == "sequential"


def test_choices_in_other_groups_name_their_override(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf / "trainable").mkdir()
    for name in ("lora", "full"):
        (conf / "trainable" / f"{name}.yaml").write_text("rank: 1\n")
    (conf / "method" / "plain.yaml").write_text("defaults:\n  - /trainable@trainable: lora\n  - _self_\n")
    listing.show("methods", [conf], name="plain", as_json=False)
    assert "trainable@method.trainable=lora, one of full, lora" in capsys.readouterr().out


def test_a_choice_by_size_shows_what_each_size_gets(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf / "trainable").mkdir()
    for name in ("lora", "full"):
        (conf / "trainable" / f"{name}.yaml").write_text("rank: 1\n")
    for size, name in (("embedded", "full"), ("small", "lora"), ("large", "lora")):
        (conf / "trainable" / f"_{size}.yaml").write_text(f"defaults:\n  - {name}@_here_\n")
    (conf / "method" / "plain.yaml").write_text(
        "defaults:\n  - /trainable@trainable: _${size}\n  - _self_\nwidth: ${by_size:1,2,3}\n"
    )
    listing.show("methods", [conf], name="plain", as_json=False)
    out = " ".join(capsys.readouterr().out.split())
    assert "trainable@method.trainable=full (embedded), lora (small, large), one of full, lora Settings" in out
    assert "${by_size:A,B,C}: one of the three by the base model's size, embedded, small or large." in out


def test_a_models_size_is_a_choice_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    listing.show("models", [conf_dir()], name="llama2_7b", as_json=False)
    assert re.search(r"part +size=large, one of embedded, large, small\n", capsys.readouterr().out)


def test_a_stream_shows_what_it_takes_in(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf / "data" / "_shared").mkdir()
    (conf / "data" / "_shared" / "files.yaml").write_text("_target_: ???\npath: x # a folder\n")
    (conf / "data" / "news.yaml").write_text(
        "# kind: documents\ndefaults:\n  - _shared/files@_here_\n  - _self_\n_target_: cmt_cli.data.knowledge.a.b\n"
    )
    listing.show("data", [conf], name="news", as_json=False)
    out = capsys.readouterr().out
    assert out.startswith("news (knowledge)")
    assert re.search(r"shares with others \(files\):\n +path: x +a folder\n", out)


def test_an_unknown_entry_names_the_nearest(conf: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'plain'"):
        listing.show("methods", [conf], name="plane", as_json=False)
    with pytest.raises(UserError, match="cmt list methods plain"):
        listing.show("matrix", [conf], name="plain", as_json=False)


def test_matrix_has_a_column_for_each_stream_kind(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf / "data" / "more.yaml").write_text("# kind: labelled\n")
    listing.show("matrix", [conf], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["labelled", "documents+episodes"]
    assert [line.split() for line in lines[1:3]] == [["meta", "no", "yes"], ["plain", "yes", "yes"]]
    assert "labelled: labels, more" in lines and "need documents and episodes: meta" in lines


def test_a_text_is_cut_where_a_clause_ends() -> None:
    assert shortened("Ten tasks, one by one: topics, moods", 40) == "Ten tasks, one by one: topics, moods"
    assert shortened("Ten tasks, one by one: topics, moods", 33) == "Ten tasks, one by one"
    assert shortened("SQuAD and its questions (arXiv 1606.05250)", 30) == "SQuAD and its questions"
    assert shortened("One word after another without any end", 20) == "One word after…"
    assert first_sentence("As of v1.1 all. Then more.") == "As of v1.1 all"


def test_a_list_of_nothing_names_the_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("list") == 2
    assert "methods, data, models, experiments, matrix" in capsys.readouterr().err


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
