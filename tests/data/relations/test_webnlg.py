"""WebNLG: xml in the layout of the release (made up), every fault, what xml is refused, and the stand-in."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format
from cmt_cli.data.relations.webnlg import read, webnlg, write
from cmt_cli.data.relations.world_triples import CATEGORIES, Triples
from tests.data.labelled_settings import settings as stream_settings
from tests.data.written_files import fault

SMALL = Triples(num_train=6, num_validation=2, num_test=2, seed=0)
ONE = "Otto_Town | mayor | Ann_Lee"
TWO = 'Otto_Town | founded | "1987"'


def entry(text: str, *triples: str, category: str = "City") -> str:
    made = "".join(f"<mtriple>{triple}</mtriple>" for triple in triples)
    original = "<originaltripleset><otriple>x | y | z</otriple></originaltripleset>"  # in the release, not read
    return (
        f'<entry category="{category}" eid="Id1" size="{len(triples)}">\n{original}\n'
        f"<modifiedtripleset>{made}</modifiedtripleset>\n<lex lid='Id1'>{text}</lex>\n</entry>\n"
    )


def document(*entries: str) -> str:
    return f"<?xml version='1.0' encoding='utf-8'?>\n<benchmark><entries>\n{''.join(entries)}</entries></benchmark>"


def put(folder: Path, train: str | None = None) -> Path:
    texts = {
        split: document(entry(f"One {split}.", ONE), entry(f"Two {split}.", ONE, TWO, category="Food"))
        for split in ("train", "dev", "test")
    }
    for split, text in (texts if train is None else {**texts, "train": train}).items():
        inner = folder / "release_v2" / "xml" / split / "2triples"
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"2triples_City_{split}_release.xml").write_bytes(text.encode())
    return folder


def stream(path: Path, cache: Path, **changes: Any) -> Stream:
    own: dict[str, Any] = {
        "default_path": str(cache / "webnlg"),
        "auto_may_generate": True,
        "order": None,
        "order_seed": None,
        "max_triples": None,
        "split_policy": SplitPolicy(validation_share=0.1, overlap="drop", seed=0),
        "format": Format(prompt_template="{text}\nTriples:", metric="f1", gives_task=False),
    }
    return webnlg(**stream_settings(path, cache, SMALL, **own | changes))


def test_references_hold_the_triples_in_any_order(tmp_path: Path) -> None:
    corpus, problems = read(put(tmp_path))
    assert not problems
    one, two = corpus.splits["train"]
    assert (one.task, one.fields["text"]) == ("City", "One train.")
    assert one.references == ("Otto Town | mayor | Ann Lee",) and one.labels == ("mayor",)
    assert (two.task, two.labels) == ("Food", ("mayor", "founded"))
    assert two.references == (
        "Otto Town | mayor | Ann Lee; Otto Town | founded | 1987",
        "Otto Town | founded | 1987; Otto Town | mayor | Ann Lee",
    )


def test_categories_are_tasks_in_the_order_asked_for(tmp_path: Path) -> None:
    folder = put(tmp_path / "files")
    made = stream(folder, tmp_path)
    assert [task.name for task in made.tasks] == ["City", "Food"] and made.tests[0].metric == "f1"
    assert not made.tests[0].labels_by_task
    example = made.tasks[0].train[0]
    assert (example.prompt, example.target) == ("One train.\nTriples:", " Otto Town | mayor | Ann Lee")
    assert [task.name for task in stream(folder, tmp_path, order=["Food", "City"]).tasks] == ["Food", "City"]
    assert [task.name for task in stream(folder, tmp_path, max_triples=1).tasks] == ["City"]
    with pytest.raises(UserError, match="Airport"):
        stream(folder, tmp_path, order=["Airport"])
    with pytest.raises(UserError, match="max_triples=0"):
        stream(folder, tmp_path, max_triples=0)


def test_byte_order_marks_crlf_and_gzip_change_nothing(tmp_path: Path) -> None:
    plain = read(put(tmp_path))[0].splits
    (file,) = (tmp_path / "release_v2" / "xml" / "train").rglob("*.xml")
    text = b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n")
    file.unlink()
    file.with_suffix(".xml.gz").write_bytes(gzip.compress(text))
    corpus, problems = read(tmp_path)
    assert not problems and corpus.splits == plain


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (entry("Text.", ONE, category=" "), "the entry has no category"),
        (entry("Text."), "the entry has no <mtriple> in a <modifiedtripleset>"),
        (entry("Text.", "Otto_Town | mayor"), "'Otto_Town | mayor' must be subject | relation | object"),
        (entry("Text.", "Otto_Town |  | Ann_Lee"), "must be subject | relation | object"),
        (entry(" ", ONE), "the entry has an empty <lex>"),
        (entry("Text.", ONE).replace("lex", "text"), "the entry has no <lex>"),
    ],
)
def test_faulty_entries_are_reported_with_lines_and_others_read(tmp_path: Path, faulty: str, message: str) -> None:
    corpus, problems = read(put(tmp_path, document(entry("First.", ONE), faulty, entry("Last.", ONE))))
    ((name, line, text),) = map(fault, problems)
    assert (name, line) == ("2triples_City_train_release.xml", 8) and message in text
    assert [item.fields["text"] for item in corpus.splits["train"]] == ["First.", "Last."]


LAUGHS = '<!DOCTYPE benchmark [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>\n<benchmark>&b;</benchmark>'
EXTERNAL = '<!DOCTYPE benchmark [<!ENTITY a SYSTEM "file:///etc/hostname">]>\n<benchmark>&a;</benchmark>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "release.xml:1: has a document type"),
        (EXTERNAL, "release.xml:1: has a document type"),
        ("<benchmark>\n<entry></benchmark>", "release.xml:2: is not well-formed xml (mismatched tag)"),
        ("<benchmark>\n&nbsp;</benchmark>", "release.xml:2: is not well-formed xml (undefined entity)"),
        ("<a>" * 200 + "</a>" * 200, "is nested more than 100 deep"),
        ("", "is empty"),
        ("<benchmark/>", "holds no <entry>"),
    ],
)
def test_damaged_or_unsafe_xml_faults_the_whole_file(tmp_path: Path, text: str, message: str) -> None:
    problem = read(put(tmp_path, text))[1][0]
    assert problem.file.name == "2triples_City_train_release.xml" and message in str(problem)
    assert not problem.is_of_row


def test_bytes_not_in_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    put(tmp_path)
    (file,) = (tmp_path / "release_v2" / "xml" / "test").rglob("*.xml")
    file.write_bytes(b"<benchmark>\n\xe9</benchmark>")
    problem = read(tmp_path)[1][0]
    assert "release.xml:2: is not UTF-8" in str(problem) and problem.ends_file


def test_missing_folders_are_named(tmp_path: Path) -> None:
    assert [fault(p)[1:] for p in read(tmp_path)[1]] == [
        (None, f"holds no folder {split} with xml files") for split in ("train", "dev", "test")
    ]


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    write(tmp_path, SMALL.corpus())
    corpus, problems = read(tmp_path)
    assert not problems
    for split, items in SMALL.corpus().splits.items():
        expected = {(item.task, item.fields["text"], item.references, item.labels) for item in items}
        assert {(i.task, i.fields["text"], i.references, i.labels) for i in corpus.splits[split]} == expected
    made = stream(tmp_path / "cache" / "webnlg", tmp_path / "cache")
    assert {task.name for task in made.tasks} == set(CATEGORIES) and made.provenance.source == "generated"


def test_generated_texts_state_triples_about_their_splits_people() -> None:
    subjects = {}
    for split, items in SMALL.corpus().splits.items():
        for item in items:
            triples = [triple.split(" | ") for triple in item.references[0].split("; ")]
            assert all(subject in item.fields["text"] and value in item.fields["text"] for subject, _, value in triples)
        subjects[split] = {item.references[0].split(" | ")[0] for item in items}
    assert not subjects["train"] & subjects["test"] and not subjects["train"] & subjects["validation"]


def test_the_real_files_are_read_whole(real_data: Path, tmp_path: Path) -> None:
    folder = real_data.parent / "relation_extraction" / "webnlg"
    corpus, problems = read(folder)
    assert not problems and len(corpus.files) == 34
    assert Counter(len(item.labels) for item in corpus.splits["train"]).keys() == {1, 2, 3}
    made = stream(folder, tmp_path)
    assert [task.name for task in made.tasks] == ["Building", "City", "Food", "Monument"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from('<>/&;"= |elxmtripn![]-?'), max_size=40))
def test_any_file_content_is_read_or_a_problem(tmp_path: Path, text: str) -> None:
    corpus, problems = read(put(tmp_path, f"<benchmark>{text}</benchmark>"))
    assert problems and not corpus.splits["train"]
