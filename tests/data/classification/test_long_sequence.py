"""The long-sequence benchmark: folders of tasks, orders and their aliases, copied validation, faulty rows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmt_cli.config import catalog
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.classification.long_sequence import long_sequence, read
from cmt_cli.data.files.problems import ProblemError
from cmt_cli.data.labelled.labelled_stream import Format
from cmt_cli.data.world.judgments import DRAWS, Benchmark
from tests.data.labelled_settings import faults, rows, settings, sizes

SMALL = Benchmark(num_train=30, num_validation=3, num_test=3, seed=0)
CONF = yaml.safe_load((catalog.conf_dir() / "data" / "long_sequence.yaml").read_text(encoding="utf-8"))
LABELS = {"SC/yelp": ["bad", "good"], "NLI/CB": ["entailment", "neutral"]}


def objects(task: str, split: str, number: int) -> list[dict[str, str]]:
    return [{"label": LABELS[task][i % 2], "sentence": f"Text: {task} {split} {i} \n"} for i in range(number)]


def put(folder: Path, **changes: Any) -> Path:
    """Write two tasks whose dev.json is a copy of test.json; `train=[...]` gives other rows for CB."""
    for task, labels in LABELS.items():
        (folder / task).mkdir(parents=True)
        made = {"train": objects(task, "train", 10), "test": objects(task, "test", 4), "labels": labels}
        made["dev"] = made["test"]
        made |= changes if task == "NLI/CB" else {}
        for name, value in made.items():
            (folder / task / f"{name}.json").write_text(json.dumps(value, indent=0), encoding="utf-8")
    return folder


def stream(folder: Path, cache: Path, **changes: Any) -> Stream:
    own = {
        "order": ["yelp", "CB"],
        "orders": {"back": ["CB", "yelp"]},
        "missing_tasks": "error",
        "competing_labels": "task",
    }
    return long_sequence(**settings(folder, cache, SMALL, **own | changes))


def test_rows_are_read_with_the_options_of_their_task(tmp_path: Path) -> None:
    corpus, problems = read(put(tmp_path / "cl"))
    assert problems == []
    assert rows(corpus, "test")[:2] == [
        ("CB", "Text: NLI/CB test 0", "entailment"),
        ("CB", "Text: NLI/CB test 1", "neutral"),
    ]
    assert corpus.splits["train"][-1].fields["options"] == "bad, good"
    assert len(corpus.files) == 8


def test_validation_copies_of_test_rows_are_replaced_by_carving(tmp_path: Path) -> None:
    made = stream(put(tmp_path / "cl"), tmp_path)
    assert sizes(made) == [("yelp", 8, 2, 4), ("CB", 8, 2, 4)]
    assert made.provenance.note.startswith(
        "order yelp, CB; validation rows of CB, yelp not used, since they are the test rows; 4 validation rows carved"
    )


def test_an_order_is_a_task_list_or_its_alias(tmp_path: Path) -> None:
    folder = put(tmp_path / "cl")
    assert [task.name for task in stream(folder, tmp_path, order="back").tasks] == ["CB", "yelp"]
    assert [task.name for task in stream(folder, tmp_path, order=["CB"]).tasks] == ["CB"]
    with pytest.raises(UserError, match=r"data\.order=bak is no alias; there are back\. Did you mean 'back'"):
        stream(folder, tmp_path, order="bak")


def test_only_the_files_of_the_order_are_read(tmp_path: Path) -> None:
    folder = put(tmp_path / "cl", train="broken")
    assert [task.name for task in stream(folder, tmp_path, order=["yelp"]).tasks] == ["yelp"]


def test_a_task_without_files_is_named_or_left_out(tmp_path: Path) -> None:
    folder, order = put(tmp_path / "cl"), ["yelp", "yahoo", "CB"]
    with pytest.raises(UserError, match=r"no training rows of 1 of 3 tasks: yahoo\. There are: CB, yelp"):
        stream(folder, tmp_path, order=order)
    made = stream(folder, tmp_path, order=order, missing_tasks="skip")
    assert [task.name for task in made.tasks] == ["yelp", "CB"]
    assert "1 task without training rows left out: yahoo" in made.provenance.note


def test_the_options_compete_or_all_labels_seen(tmp_path: Path) -> None:
    folder = put(tmp_path / "cl")
    own = stream(folder, tmp_path).tests[1]
    assert own.labels_by_task == () and own.examples[0].choices == (" entailment", " neutral")
    seen = stream(folder, tmp_path, competing_labels="seen").tests[1]
    assert seen.labels_by_task == (("bad", "good"), ("entailment", "neutral"))


def test_templates_hold_instruction_options_and_text_for_each_task(tmp_path: Path) -> None:
    form = Format(prompt_template=CONF["format"]["prompt_template"], metric="em", gives_task=False)
    prompts = [task.train[0].prompt for task in stream(put(tmp_path / "cl"), tmp_path, format=form).tasks]
    assert prompts[1].split("\n") == [
        "How does sentence 2 relate to sentence 1?",
        "Options: entailment, neutral",
        prompts[1].split("\n")[2],
        "Answer:",
    ]
    assert prompts[0].startswith("How does the reviewer judge the place?\nOptions: bad, good\nText: SC/yelp train")


def test_the_published_orders_hold_the_published_tasks() -> None:
    orders = CONF["orders"]
    assert {name: len(tasks) for name, tasks in orders.items()} == {
        "o1": 4, "o2": 4, "o3": 4, "o4": 15, "o5": 15, "o6": 15
    }  # fmt: skip
    assert all(sorted(orders[name]) == ["agnews", "amazon", "dbpedia", "yahoo"] for name in ("o1", "o2", "o3"))
    assert all(set(orders[name]) == set(CONF["format"]["prompt_template"]) for name in ("o4", "o5", "o6"))
    assert set(DRAWS) == set(orders["o4"])
    assert [orders["o4"][0], orders["o5"][0], orders["o6"][0]] == ["MNLI", "MultiRC", "yelp"]
    assert [orders["o4"][-1], orders["o5"][-1], orders["o6"][-1]] == ["yahoo", "yahoo", "WiC"]
    assert CONF["order"] == orders["o4"]


def test_labels_that_are_not_listed_are_bad_rows(tmp_path: Path) -> None:
    bad = [*objects("NLI/CB", "test", 4), {"label": "?", "sentence": "Text: unlabelled"}, {"sentence": "a"}, "b"]
    folder = put(tmp_path / "cl", test=bad)
    lines = (folder / "NLI" / "CB" / "test.json").read_text(encoding="utf-8").splitlines()
    assert faults(read, folder) == [
        ("test.json", lines.index('"label": "?",'), "[4]: the label '?' is none of labels.json: entailment, neutral"),
        ("test.json", lines.index('"sentence": "a"'), "[5]: the key 'label' is missing; there are 'sentence'."),
        ("test.json", 1, "[6]: must be an object, not a string"),
    ]
    made = stream(folder, tmp_path, on_bad_row="skip")
    assert "3 faulty rows skipped" in made.provenance.note
    assert len(made.tests[1].examples) == 4


@pytest.mark.parametrize(
    ("changes", "file", "message"),
    [
        ({"train": {}}, "train.json", "must be a list of objects with label and sentence, and not empty"),
        ({"test": []}, "test.json", "must be a list of objects with label and sentence, and not empty"),
        ({"labels": ["one"]}, "labels.json", "must be a list of two labels or more, printable text"),
        ({"labels": {"a": 1, "b": 2}}, "labels.json", "must be a list of two labels or more, printable text"),
        ({"labels": ["a, b", "c"]}, "labels.json", "the label 'a, b' holds ', ', which divides options"),
    ],
)
def test_skipping_rows_excuses_no_faulty_file(changes: dict[str, Any], file: str, message: str, tmp_path: Path) -> None:
    folder = put(tmp_path / "cl", **changes)
    assert faults(read, folder) == [(file, None, message)]
    with pytest.raises(ProblemError):
        stream(folder, tmp_path, on_bad_row="skip")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    folder = put(tmp_path / "cl")
    (folder / "NLI" / "CB" / "test.json").unlink()
    (folder / "SC" / "yelp" / "labels.json").unlink()
    assert faults(read, folder) == [("CB", None, "holds no test.json"), ("yelp", None, "holds no labels.json")]
    assert faults(read, tmp_path / "cl" / "SC")[0][2].startswith("holds no task")


def test_rows_without_a_gold_label_are_counted(tmp_path: Path) -> None:
    rows_of_test = [*objects("NLI/CB", "test", 4), {"label": "-", "sentence": "Text: nobody agreed"}]
    made = stream(put(tmp_path / "cl", test=rows_of_test, dev=objects("NLI/CB", "dev", 2)), tmp_path)
    assert "1 row of CB without a gold label left out" in made.provenance.note
    assert len(made.tests[1].examples) == 4


def test_a_file_for_the_folder_names_the_folder(tmp_path: Path) -> None:
    file = put(tmp_path / "cl") / "SC" / "yelp" / "train.json"
    with pytest.raises(ProblemError, match=f"it is a file: give the folder .* data.path={file.parent}"):
        stream(file, tmp_path)


def test_stand_in_has_all_tasks_of_the_longest_orders(tmp_path: Path) -> None:
    made = stream(Path("data/somewhere"), tmp_path, source="generated", order="o6", orders=CONF["orders"])
    assert [task.name for task in made.tasks] == CONF["orders"]["o6"]
    assert all((train, validation, test) == (30, 3, 3) for _, train, validation, test in sizes(made))


def test_the_real_files_run_all_but_yahoo(real_data: Path, tmp_path: Path) -> None:
    folder = real_data.parent / "text_classification" / "CL_Benchmark"
    order = [task for task in CONF["orders"]["o4"] if task != "yahoo"]
    made = stream(folder, tmp_path, order=order)
    assert re.search(r"\d+ rows of MNLI without a gold label left out", made.provenance.note)
    by_name = {name: (train, test) for name, train, _, test in sizes(made)}
    assert by_name["MNLI"] == (500, 198) and by_name["dbpedia"] == (500, 200) and by_name["CB"] == (175, 25)
    with pytest.raises(UserError, match="tasks: yahoo"):
        stream(folder, tmp_path, order="o1", orders=CONF["orders"])
