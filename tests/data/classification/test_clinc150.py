"""CLINC150: intents by groups or by domain, faults with their lines, unknown intents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.classification.clinc150 import clinc150, read
from cmt_cli.data.files.problems import ProblemError
from cmt_cli.data.world.intents import Intents
from tests.data.labelled_settings import faults, rows, settings, sizes

SMALL = Intents(num_train=4, num_validation=1, num_test=2, seed=0)
DOMAINS = {"cards": ["new_card", "lost_card"], "travel": ["book_trip"]}


def pairs(split: str, number: int) -> list[list[str]]:
    return [[f"{split} {intent} {i}", intent] for i in range(number) for names in DOMAINS.values() for intent in names]


def put(folder: Path, domains: Any = DOMAINS, **changes: Any) -> Path:
    data = {"train": pairs("train", 3), "val": pairs("val", 1), "test": pairs("test", 2), "oos_train": [["hm", "oos"]]}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**data, **changes}, indent=0)
    (folder / "data_full.json").write_text(text, encoding="utf-8")
    if domains is not None:
        (folder / "domains.json").write_text(json.dumps(domains), encoding="utf-8")
    return folder


def stream(folder: Path, cache: Path, **changes: Any) -> Stream:
    own = {"tasks": "labels", "num_tasks": 3, "labels_per_task": None, "order_seed": None}
    return clinc150(**settings(folder, cache, SMALL, **own | changes))


def test_rows_are_read_unchanged_except_those_out_of_scope(tmp_path: Path) -> None:
    corpus, problems = read(put(tmp_path / "clinc"))
    assert problems == []
    assert rows(corpus, "validation") == [
        ("cards", "val new_card 0", "new card"),
        ("cards", "val lost_card 0", "lost card"),
        ("travel", "val book_trip 0", "book trip"),
    ]
    assert [len(corpus.splits[split]) for split in ("train", "validation", "test")] == [9, 3, 6]


def test_tasks_of_a_few_intents_each(tmp_path: Path) -> None:
    made = stream(put(tmp_path / "clinc"), tmp_path)
    assert sizes(made) == [(f"labels_{i:02d}", 3, 1, 2) for i in range(3)]
    assert made.tests[0].labels_by_task == (("new card",), ("lost card",), ("book trip",))
    assert made.tasks[0].train[0].prompt == "train new_card 0\nLabel:"
    assert made.provenance.source == "real" and set(made.provenance.files) == {"data_full.json", "domains.json"}


def test_tasks_of_one_domain_each_bring_its_intents(tmp_path: Path) -> None:
    made = stream(put(tmp_path / "clinc"), tmp_path, tasks="domains")
    assert sizes(made) == [("cards", 6, 2, 4), ("travel", 3, 1, 2)]
    assert made.tests[0].labels_by_task == (("new card", "lost card"), ("book trip",))


@pytest.mark.parametrize("tasks", ["domains", "labels"])
def test_an_utterance_under_two_domains_is_in_one_split(tmp_path: Path, tasks: str) -> None:
    train = [*pairs("train", 3), ["Test book_trip  0", "new_card"]]
    made = stream(put(tmp_path / "clinc", train=train), tmp_path, tasks=tasks)
    assert all("book_trip" not in example.prompt for example in made.tasks[0].train)
    assert "1 training row left out that is also a validation or test row" in made.provenance.note


def test_domains_need_to_be_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no domain is known of 3 intents, 'new card' among them"):
        stream(put(tmp_path / "clinc", domains=None), tmp_path, tasks="domains")
    with pytest.raises(UserError, match="no domain is known of 1 intent, 'book trip'"):
        stream(put(tmp_path / "less", domains={"cards": DOMAINS["cards"]}), tmp_path, tasks="domains")


def test_faulty_rows_are_reported_with_lines_and_others_read(tmp_path: Path) -> None:
    bad: list[Any] = [["fine", "new_card"], ["", "new_card"], 5, ["one"], ["text", "flight"], [3, "new_card"], "text"]
    folder = put(tmp_path / "clinc", test=bad, val=[["half \ud800", "new_card"], ["v", "new_card"]])
    text = (folder / "data_full.json").read_text(encoding="utf-8").splitlines()
    found = faults(read, folder)
    assert found == [
        ("data_full.json", text.index('"half \\ud800",'), "val[0]: 'text' has half of a surrogate pair (\\ud800 to "
         "\\udfff)"),
        ("data_full.json", text.index('"",'), "test[1]: 'text' is empty"),
        ("data_full.json", text.index('"test": ['[:9]) + 1, "test[2]: must be a pair [text, intent], not a number"),
        ("data_full.json", text.index('"one"'), "test[3]: must be a pair [text, intent], not a list"),
        ("data_full.json", text.index('"flight"') - 1, "test[4]: the intent 'flight' has no training rows"),
        ("data_full.json", text.index("3,"), "test[5]: 'text' must be a string, not a number"),
        ("data_full.json", text.index('"test": ['[:9]) + 1, "test[6]: must be a pair [text, intent], not a string"),
    ]  # fmt: skip
    assert rows(read(folder)[0], "test") == [("cards", "fine", "new card")]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "is empty"),
        ('{"train": [', 1, "is not valid json (Expecting value at column 12)"),
        ("[1, 2]", None, "must be an object with a list 'train' of [text, intent] pairs"),
        ('{"train": {}}', None, "must be an object with a list 'train' of [text, intent] pairs"),
        ('{"train": [], "val": [], "test": []}', None, "the list 'train' is empty"),
    ],
)
def test_skipping_rows_excuses_no_faulty_file(text: str, line: int | None, message: str, tmp_path: Path) -> None:
    folder = put(tmp_path / "clinc")
    (folder / "data_full.json").write_text(text, encoding="utf-8")
    assert faults(read, folder)[0] == ("data_full.json", line, message)
    with pytest.raises(ProblemError):
        stream(folder, tmp_path, on_bad_row="skip")


def test_faulty_domain_files_and_missing_files_are_errors(tmp_path: Path) -> None:
    assert faults(read, put(tmp_path / "clinc", domains={"cards": "new_card"})) == [
        ("domains.json", None, "must be an object that maps each domain to a list of intents")
    ]
    (found,) = faults(read, tmp_path)
    assert found[1] is None and found[2].startswith("holds none of data_full.json")


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    made = stream(Path("data/somewhere"), tmp_path, source="generated", tasks="domains")
    assert made.provenance.source == "generated"
    assert [task.name for task in made.tasks][:2] == ["birthplace", "job"]
    assert all(len(test.examples) == 8 for test in made.tests)


def test_the_real_files_hold_105_intents_in_seven_domains(real_data: Path, tmp_path: Path) -> None:
    made = stream(real_data.parent / "text_classification" / "clinc150", tmp_path, tasks="domains")
    assert len(made.tasks) == 7
    assert {len(test.examples) for test in made.tests} == {450}  # 15 intents x 30
    assert all(len(task.validation) in (299, 300) for task in made.tasks)  # 15 intents x 20
    assert [len(labels) for labels in made.tests[0].labels_by_task] == [15] * 7
