"""The World Factbook as a stream: editions as tasks, questions as of their dates, real files where they are there."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.origin import Shares
from cmt_cli.data.files.stored_stream import read_stream, write_stream
from cmt_cli.data.files.stream_content import content_sha256
from cmt_cli.data.knowledge.factbook import factbook, read, spoken
from cmt_cli.data.world.countries import Countries
from cmt_cli.evaluation.answer_metrics import normalize
from tests.data.written_files import faults, selection

EDITIONS = ("2020-11-27", "2022-12-29", "2024-12-26")


def put(folder: Path, date: str, code: str, government: dict[str, Any], **others: Any) -> Path:
    """Write a profile of Ruritania, whose fields are texts."""
    name = {"Country name": {"conventional short form": {"text": f"Ruritania {code}"}}}
    path = folder / date / "europe" / f"{code}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"Government": {**name, **government}, **others}), encoding="utf-8")
    return path


def leaf(text: str) -> dict[str, str]:
    return {"text": text}


def head(text: str) -> dict[str, Any]:
    return {"Executive branch": {"head of government": leaf(text)}, "Government type": leaf("republic")}


def three_editions(folder: Path, *codes: str) -> Path:
    for code in codes:
        put(folder, EDITIONS[0], code, head("Prime Minister Ann ROE (since 2 May 2012)"))
        put(folder, EDITIONS[1], code, head("<b>Ann&nbsp;ROE</b> (since 2 May 2012)"))
        put(folder, EDITIONS[2], code, head("Premier Bo LEE (since 1 June 2023)"))
    return folder


def stream_of(path: Path, cache: Path, **changes: Any) -> Stream:
    settings: dict[str, Any] = {
        "path": str(path),
        "default_path": "data/factbook",
        "source": "auto",
        "auto_may_generate": True,
        "cache": str(cache),
        "fields": None,
        "gone": "skip",
        "split": Shares(train=0.4, validation=0.2, test=0.4, seed=0),
        "selection": selection(),
        "prompt_template": "{question}",
        "capitalize_answers": False,
        "generated": Countries(num_countries=12, num_editions=3, change_rate=0.3, seed=0),
    }
    return factbook(**(settings | changes))


def test_editions_are_the_tasks_and_their_dates_are_asked(tmp_path: Path) -> None:
    stream = stream_of(three_editions(tmp_path / "editions", *"abcde"), tmp_path)
    assert [task.name for task in stream.tasks] == [test.name for test in stream.tests] == list(EDITIONS)
    first = stream.tasks[0].documents[0]
    name = f"Ruritania {first.id[0]}"
    assert first.text == (
        f"{name}, government, as of 27 November 2020. Head of government of {name}: Prime Minister Ann ROE (since "
        f"2 May 2012). Government type of {name}: republic."
    )
    asked = [stream.tests[i].examples[0] for i in range(3)]
    assert asked[0].prompt == f"As of 27 November 2020, who is the head of government of {name}?"
    assert [(e.references, e.change, e.earlier) for e in asked] == [
        (("Ann ROE",), "new", ()),
        (("Ann ROE",), "unchanged", ()),
        (("Bo LEE",), "changed", ("Ann ROE",)),
    ]


def test_a_country_is_in_one_split_only(tmp_path: Path) -> None:
    stream = stream_of(three_editions(tmp_path / "editions", *"abcdefghij"), tmp_path)
    tested = {document.id.split("/")[0] for task in stream.tasks for document in task.documents}
    trained = {document.id.split("/")[0] for episode in stream.episodes.train for document in episode.support}
    assert len(tested) == 4 and len(trained) == 4 and not tested & trained


@pytest.mark.parametrize("pick", ["first", "random"])
def test_a_limit_takes_whole_countries(tmp_path: Path, pick: str) -> None:
    path = three_editions(tmp_path / "editions", *"abcdefghij")
    stream = stream_of(path, tmp_path, selection=selection(max_test_documents=7, pick=pick))
    countries = Counter(document.id.split("/")[0] for task in stream.tasks for document in task.documents)
    assert list(countries.values()) == [3, 3]  # a third one would be nine documents


def test_gone_facts_are_left_out_or_answered_as_stated(tmp_path: Path) -> None:
    path = tmp_path / "editions"
    for code in "abc":
        put(path, EDITIONS[0], code, head("Prime Minister Ann ROE"))
        put(path, EDITIONS[1], code, head("Prime Minister (vacant)"))

    def last(**changes: Any) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        stream = stream_of(path, tmp_path, fields=["head_of_government", "government_type"], **changes)
        return [(e.change, e.references, e.earlier) for e in stream.tests[1].examples]

    assert last() == [("unchanged", ("republic",), ())]
    assert last(gone="nobody") == [("gone", ("nobody",), ("Ann ROE",)), ("unchanged", ("republic",), ())]
    assert "1 gone" not in read(path)[0].notes[0] and "3 gone" in read(path)[0].notes[1]


def test_fields_of_other_editions_are_found(tmp_path: Path) -> None:
    people, economy, area = "People and Society", "Economy", "Geography"
    put(
        tmp_path,
        EDITIONS[0],
        "a",
        {},
        **{
            people: {"Population": leaf("1,000 (July 2020 est.)")},
            economy: {"Unemployment rate": leaf("5% (2019 est.) / 6% (2018 est.)")},
            area: {"Area": {"total": leaf("10 sq km")}},
        },
    )
    put(
        tmp_path,
        EDITIONS[1],
        "a",
        {},
        **{
            people: {"Population": {"male": leaf("500"), "total": leaf("1,100 (2022 est.)")}},
            economy: {
                "Unemployment rate": {"Unemployment rate 2020": leaf("8%"), "Unemployment rate 2021": leaf("7%")}
            },
            area: {"Area": {"total ": leaf("10 sq km")}},
        },
    )
    (part,) = read(tmp_path)[0].parts
    found = {question.id: question.references[0] for question in part.questions}
    assert found == {
        "a/2020-11-27/population": "1,000",
        "a/2020-11-27/unemployment": "5%",
        "a/2020-11-27/area": "10",
        "a/2022-12-29/population": "1,100",
        "a/2022-12-29/unemployment": "7%",
        "a/2022-12-29/area": "10",
    }


def test_a_stored_stream_keeps_what_became_of_facts(tmp_path: Path) -> None:
    stream = stream_of(three_editions(tmp_path / "editions", *"abcde"), tmp_path)
    (tmp_path / "stored").mkdir()
    write_stream(stream, tmp_path / "stored")
    again = read_stream(tmp_path / "stored", tmp_path / "cache")
    assert [list(test.examples) for test in again.tests] == [list(test.examples) for test in stream.tests]
    assert content_sha256(again) == content_sha256(stream)


def test_every_fault_of_the_files_is_told(tmp_path: Path) -> None:
    put(tmp_path, EDITIONS[0], "a", head("Ann ROE"))
    broken = put(tmp_path, EDITIONS[0], "b", {})
    broken.write_text('{"Government": {\n"Capital": ', encoding="utf-8")
    put(tmp_path, EDITIONS[0], "c", {"Capital": {"name": leaf("")}}).write_text("[]", encoding="utf-8")
    put(tmp_path, EDITIONS[0], "d", {"Capital": {"name": {"text": 7}}})
    moved = tmp_path / EDITIONS[0] / "asia" / "a.json"
    moved.parent.mkdir()
    moved.write_text("{}", encoding="utf-8")
    (tmp_path / EDITIONS[1]).mkdir()
    found = {(name, message.split(":")[-1].strip()[:40]) for name, _, message in faults(read, tmp_path)}
    assert found == {
        ("b.json", "is not valid json (Expecting value at co"),
        ("c.json", "must be a json object, not a list"),
        ("d.json", "must be a text, or an object with one, n"),
        ("a.json", "is the second profile of 'a' in its edit"),
        (EDITIONS[1], "holds no profile, REGION/CODE.json"),
    }


def test_a_folder_without_editions_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "europe").mkdir()
    (tmp_path / "europe" / "a.json").write_text("{}", encoding="utf-8")
    ((_, line, message),) = faults(read, tmp_path)
    assert line is None and message.startswith("holds no edition: a folder named by its date, such as 2020-11-27")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fields": ["head_of_goverment"]}, "Did you mean 'head_of_government'?"),
        ({"gone": " "}, "data.gone is empty"),
        ({"path": "nowhere"}, "data.path=nowhere does not exist"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        stream_of(**{"path": three_editions(tmp_path / "editions", *"abcde"), "cache": tmp_path, **changes})


def test_the_stand_in_changes_at_its_rate(tmp_path: Path) -> None:
    generated = Countries(num_countries=40, num_editions=4, change_rate=0.25, seed=1)
    stream = stream_of(Path("data/factbook"), tmp_path, generated=generated)
    assert stream.provenance.source == "generated"
    found = Counter(example.change for test in stream.tests for example in test.examples)
    assert set(found) == {"new", "unchanged", "changed"}
    # 12 of its 15 facts may change, and a new value is the old one now and then.
    assert 0.12 < found["changed"] / (found["changed"] + found["unchanged"]) < 0.22
    documents = {document.id: document.text for task in stream.tasks for document in task.documents}
    for test in stream.tests:
        for example in test.examples:
            assert example.target.strip() in documents[example.document_ids[0]]


@pytest.mark.parametrize(
    ("change", "message"), [({"num_countries": 0}, "give 1 to 400"), ({"change_rate": 1.5}, "is no chance")]
)
def test_impossible_countries_are_refused(change: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"num_countries": 2, "num_editions": 2, "change_rate": 0.5, "seed": 0}
    with pytest.raises(UserError, match=message):
        Countries(**(settings | change))


def test_dates_are_spoken() -> None:
    assert spoken("2015-01-05") == "5 January 2015"


@pytest.fixture(scope="module")
def real(real_data: Path) -> Any:
    path = real_data.parent / "knowledge_update" / "factbook"
    if not path.is_dir():
        pytest.skip(f"no editions of the World Factbook at {path}")
    return read(path)


def test_real_editions_have_no_fault_and_hold_their_answers(real: Any) -> None:
    corpus, problems = real
    assert not problems and len(corpus.files) > 1000
    (part,) = corpus.parts
    texts = {document.id: normalize(document.text) for document in part.documents}
    # A list of languages is no span, nor is a type of government that had a bracket in its middle.
    single = [q for q in part.questions if not q.id.endswith(("/official_languages", "/government_type"))]
    missing = [q.id for q in single if not any(normalize(a) in texts[q.document_id] for a in q.references)]
    assert len(single) > 30_000 and len(missing) < len(single) / 1000


def test_real_facts_changed_as_they_did(real: Any) -> None:
    found = {question.id: question for question in real[0].parts[0].questions}
    chancellor = [found[f"gm/{date}/head_of_government"] for date in ("2017-03-29", "2022-12-29", "2026-01-22")]
    assert [question.change for question in chancellor] == ["unchanged", "changed", "changed"]
    assert chancellor[2].references == ("Friedrich MERZ",)
    assert chancellor[2].earlier == ("Olaf SCHOLZ", "Angela MERKEL")
    astana = [found[f"kz/{date}/capital"].references[0] for date in EDITIONS]
    assert astana == ["Nur-Sultan", "Astana", "Astana"]
    assert found["lh/2017-03-29/currency"].change != "gone"
    capitals = [q.change for q in real[0].parts[0].questions if q.id.endswith("/capital")]
    assert capitals.count("changed") <= 5 < 1000 < capitals.count("unchanged")
