"""A user's own rows as a stream: kinds of answers, tasks, splits, and one clear error for what cannot work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from omegaconf import OmegaConf

from cmt_cli.config import catalog, compose, targets
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.problems import ProblemError
from cmt_cli.data.labelled.labelled_tables import LAYOUT
from tests.data.labelled_settings import sizes
from tests.data.written_files import put_csv, put_jsonl

LABELS = ("joy", "anger", "fear", "love")
ROWS = [{"text": f"I feel {label} {i}", "label": label, "site": f"s{i % 2}"} for i in range(10) for label in LABELS]
REVISION = "4" * 40


@pytest.fixture
def stream(tmp_path: Path) -> Any:
    def made(path: Path | str, *overrides: str) -> Stream:
        given = [f"data.path={path}", f"paths.cache={tmp_path / 'cache'}", *overrides]
        composed = compose.compose(["data=labelled", "model=tiny", *given], [catalog.conf_dir()])
        settings: Any = OmegaConf.to_container(composed.data, resolve=True)
        targets.check_arguments(settings, ())
        built: Stream = targets.instantiate(settings)
        return built

    return made


@pytest.fixture
def one_file(tmp_path: Path) -> Path:
    return put_csv(tmp_path / "rows.csv", ROWS)


def prompts(made: Stream) -> list[str]:
    return [example.prompt for task in made.tasks for example in task.train]


def test_one_file_becomes_label_groups_with_held_out_rows(stream: Any, one_file: Path) -> None:
    made = stream(one_file)
    assert made.tests[0].labels_by_task == (("joy", "anger"), ("fear", "love"))
    assert [row[3] for row in sizes(made)] == [4, 4]  # a fifth of 10 of each label
    assert [row[1] + row[2] for row in sizes(made)] == [16, 16] and min(row[2] for row in sizes(made)) > 0
    targets_of_test = [[example.target for example in test.examples] for test in made.tests]
    assert sorted(targets_of_test[0]) == [" anger"] * 2 + [" joy"] * 2
    assert {test.metric for test in made.tests} == {"em"}
    assert made.provenance.note.startswith("8 test rows held out of the training rows")
    assert (made.provenance.license, list(made.provenance.files)) == ("not stated", ["rows.csv"])


def test_held_out_rows_are_reproducible_and_not_learned(stream: Any, one_file: Path) -> None:
    made, again, other = stream(one_file), stream(one_file), stream(one_file, "data.held_out.seed=1")
    queried = {example.prompt for test in made.tests for example in test.examples}
    assert not queried & set(prompts(made))
    assert prompts(made) == prompts(again) != prompts(other)


def test_prompt_templates_name_columns_as_they_are(stream: Any, tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "my col": f"m{i}", "a-b": {"c": f"c{i}"}, "label": "xy"[i % 2]} for i in range(20)]
    template = '{text} {my col} {a-b.c} {"a": 1} ='
    made = stream(put_jsonl(tmp_path / "rows.jsonl", rows), f"data.format.prompt_template='{template}'")
    assert all(re.fullmatch(r't(\d+) m\1 c\1 \{"a": 1\} =', prompt) for prompt in prompts(made))
    with pytest.raises(ProblemError, match="the column 'my cols' is missing"):
        stream(tmp_path / "rows.jsonl", "data.format.prompt_template='{text} {my cols}'")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_every_format_gives_the_same_stream(ending: str, stream: Any, one_file: Path, tmp_path: Path) -> None:
    file = tmp_path / f"rows.{ending}"
    if ending == "tsv":
        file.write_text(one_file.read_text().replace(",", "\t"))
    elif ending == "jsonl":
        put_jsonl(file, ROWS)
    elif ending == "json":
        file.write_text(json.dumps(ROWS, indent=1))
    elif ending == "parquet":
        Dataset.from_list(ROWS).to_parquet(str(file))
    made, expected = stream(file), stream(one_file)
    assert (made.tasks, made.tests) == (expected.tasks, expected.tests)


def test_tasks_come_from_a_column_and_share_labels(stream: Any, one_file: Path) -> None:
    made = stream(one_file, "data.columns.task=site", "data.format.gives_task=true")
    assert [task.name for task in made.tasks] == ["s0", "s1"] and made.gives_task
    assert made.tests[0].labels_by_task == (LABELS, LABELS)
    assert [row[3] for row in sizes(made)] == [4, 4]


def test_tasks_come_from_files_and_splits_from_their_names(stream: Any, tmp_path: Path) -> None:
    for task in ("books", "films"):
        put_csv(tmp_path / "in" / f"{task}_train.csv", ROWS[:20])
        put_csv(tmp_path / "in" / f"{task}_dev.csv", ROWS[20:28])
        put_csv(tmp_path / "in" / f"{task}_test.csv", ROWS[28:])
    made = stream(tmp_path / "in", "data.order=[films,books]")
    assert sizes(made) == [("films", 20, 8, 12), ("books", 20, 8, 12)]
    assert made.tests[0].examples[0].id == "films/test-0000000"


def test_splits_come_from_a_column(stream: Any, tmp_path: Path) -> None:
    used = ["train"] * 6 + ["val"] * 2 + ["test", "extra"]
    file = put_csv(tmp_path / "rows.csv", [{**row, "part": used[i // 4]} for i, row in enumerate(ROWS)])
    with pytest.raises(ProblemError, match=r"rows\.csv:38: 'extra' is no name of a split .*data\.splits="):
        stream(file, "data.columns.split=part")
    named = "data.splits={train: train, validation: val, test: test}"
    made = stream(file, "data.columns.split=part", named)
    assert sizes(made) == [("labels_00", 12, 4, 2), ("labels_01", 12, 4, 2)]
    assert "4 rows of extra not used" in made.provenance.note


def test_labels_are_grouped_as_the_order_says(stream: Any, one_file: Path) -> None:
    made = stream(one_file, "data.order=[[love],[joy,fear]]")
    assert made.tests[0].labels_by_task == (("love",), ("joy", "fear"))
    assert "10 rows of tasks or labels outside data.order not used" in made.provenance.note
    flat = stream(one_file, "data.order=[love,joy,fear]", "data.num_tasks=3")
    assert flat.tests[0].labels_by_task == (("love",), ("joy",), ("fear",))
    other_rows = stream(one_file, "data.held_out.seed=3", "data.split_policy.seed=3")
    assert other_rows.tests[0].labels_by_task == (LABELS[:2], LABELS[2:])
    shuffled = [stream(one_file, f"data.order_seed={seed}").tests[0].labels_by_task for seed in range(4)]
    assert len(set(shuffled)) > 1 and {frozenset(sum(groups, ())) for groups in shuffled} == {frozenset(LABELS)}


def test_texts_are_made_of_columns_and_labels_have_names(stream: Any, tmp_path: Path) -> None:
    rows = [{"Target 1": f"t{i}", "body": "" if i else "b", "stance": i % 2 * 2 - 1} for i in range(12)]
    file = put_jsonl(tmp_path / "rows.jsonl", rows)
    own = ['data.columns.text="{Target 1}: {body}"', "data.columns.answer=stance"]
    names = "data.columns.label_names={-1: against, 1: 'in favour'}"
    made = stream(file, *own, names, 'data.format.prompt_template="{text} ({body}) ="')
    assert set(made.tests[0].labels_by_task) == {("against",), ("in favour",)}
    everything = {*prompts(made), *(e.prompt for t in made.tests for e in t.examples)}
    assert {"t1: () =", "t2: () ="} < everything | {e.prompt for task in made.tasks for e in task.validation}
    with pytest.raises(
        ProblemError, match=r"rows\.jsonl:1: 'stance' is '-1', which data\.columns\.label_names does not"
    ):
        stream(file, *own, "data.columns.label_names=[no,yes]")


def test_texts_are_answers_where_they_are_generated(stream: Any, tmp_path: Path) -> None:
    rows = [{"q": f"q{i}", "a": [f"a{i}", f"b{i}"] if i else "a0", "t": "xy"[i % 2]} for i in range(10)]
    file = put_jsonl(tmp_path / "rows.jsonl", rows)
    own = ["data.kind=generation", "data.columns.text=q", "data.columns.answer=a"]
    made = stream(file, *own, "data.columns.task=t")
    examples = [example for task in made.tasks for example in task.train]
    assert {test.metric for test in made.tests} == {"rouge_l"} and not made.tests[0].labels_by_task
    assert all(example.references[0] == example.target.strip() for example in examples)
    assert max(len(example.references) for example in examples) == 2
    with pytest.raises(UserError, match=r"data\.kind=generation has no labels to make tasks of.*data\.columns\.task"):
        stream(file, *own)


@pytest.mark.parametrize(("form", "answer"), [("text", "blue"), ("index", 1), ("number", 2), ("letter", "B")])
def test_an_answer_names_one_of_the_rows_choices(form: str, answer: str | int, stream: Any, tmp_path: Path) -> None:
    rows = [{"q": f"q{i}", "c": ["red", "blue", f"c{i}"], "a": answer, "t": "xy"[i % 2]} for i in range(10)]
    file = put_jsonl(tmp_path / "rows.jsonl", rows)
    own = ["data.kind=choices", "data.columns.text=q", "data.columns.answer=a", "data.columns.choices=c"]
    made = stream(file, *own, "data.columns.task=t", f"data.columns.answer_form={form}")
    example = made.tests[0].examples[0]
    assert example.choices[:2] == (" red", " blue") and example.target == " blue" and len(example.choices) == 3
    assert {test.metric for test in made.tests} == {"accuracy"} and not made.tests[0].labels_by_task


def test_choices_stand_in_several_columns_and_in_the_prompt(stream: Any, tmp_path: Path) -> None:
    rows = [{"q": f"q{i}", "A": "yes", "B": "no", "a": "AB"[i % 2], "t": "xy"[i // 5]} for i in range(10)]
    own = ["data.kind=choices", "data.columns.text=q", "data.columns.answer=a", "data.columns.choices=[A,B]"]
    file = put_csv(tmp_path / "rows.csv", rows)
    more = ["data.columns.task=t", 'data.format.prompt_template="{text} ({options})"']
    made = stream(file, *own, *more, "data.columns.answer_form=letter")
    assert all(prompt.endswith(" (yes, no)") for prompt in prompts(made))
    with pytest.raises(
        ProblemError, match=r"rows\.csv:2: 'a' is 'A', .*'yes', 'no'\. data\.columns\.answer_form=letter"
    ):
        stream(file, *own, *more)


def test_a_hub_data_set_is_pinned_and_read_once(stream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(LABELS)), "site": Value("string")})
    coded = [{**row, "label": LABELS.index(row["label"])} for row in ROWS]
    parts = {"train": coded[:28], "test": coded[28:]}
    made_of = DatasetDict({name: Dataset.from_list(rows, features=features) for name, rows in parts.items()})
    calls: list[str] = []

    def load_dataset(path: str, name: str | None, revision: str) -> DatasetDict:
        calls.append(f"{path}@{revision}")
        return made_of

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        UserError, match=r"org/set: there is no such file or folder here.*data\.hub\.revision.*is not set"
    ):
        stream("org/set")
    with pytest.raises(UserError, match=r"must be a commit of 40 hexadecimal digits and is 'main'"):
        stream("org/set", "data.hub.revision=main")
    first, second = (stream("org/set", f"data.hub.revision='{REVISION}'") for _ in range(2))
    assert calls == [f"org/set@{REVISION}"] and first.tasks == second.tasks
    assert first.tests[0].labels_by_task == (LABELS[:2], LABELS[2:])
    assert [row[3] for row in sizes(first)] == [6, 6]
    assert sorted(first.provenance.files) == ["test.jsonl", "train.jsonl"] and first.provenance.source == "real"


def test_overlaps_are_dropped_as_the_split_policy_says(stream: Any, tmp_path: Path) -> None:
    put_csv(tmp_path / "in" / "train.csv", ROWS)
    put_csv(tmp_path / "in" / "test.csv", ROWS[:8])
    made = stream(tmp_path / "in")
    assert "8 training rows left out that are also validation or test rows" in made.provenance.note
    with pytest.raises(UserError, match="8 training rows are also validation or test rows"):
        stream(tmp_path / "in", "data.split_policy.overlap=error")


@pytest.mark.parametrize(("template", "is_shown"), [('"{text}"', False), ('"{site}: {text}"', True)])
def test_a_task_in_the_prompt_distinguishes_texts(stream: Any, tmp_path: Path, template: str, is_shown: bool) -> None:
    shared = {"text": "I feel as always", "label": "joy"}
    rows = {"train": [*ROWS, {**shared, "site": "s0"}], "test": [{**shared, "site": "s1"}]}
    rows["test"].append({"text": "I feel new", "label": "joy", "site": "s0"})
    for split, own in rows.items():
        put_csv(tmp_path / "data" / f"{split}.csv", own)
    made = stream(tmp_path / "data", "data.columns.task=site", f"data.format.prompt_template={template}")
    learned = prompts(made) + [example.prompt for task in made.tasks for example in task.validation]
    assert any("as always" in prompt for prompt in learned) == is_shown


def test_faulty_rows_are_told_with_their_lines_or_skipped(stream: Any, tmp_path: Path) -> None:
    put_csv(tmp_path / "in" / "train.csv", [*ROWS, {"text": " ", "label": "joy", "site": ""}])
    put_csv(tmp_path / "in" / "test.csv", [*ROWS[:4], {"text": "What?", "label": "awe", "site": ""}])
    with pytest.raises(ProblemError) as error:
        stream(tmp_path / "in", "data.split_policy.overlap=keep")
    faults = [(problem.file.name, problem.line, problem.message) for problem in error.value.problems]
    assert faults == [("train.csv", 42, "'text' is empty"), ("test.csv", 6, "the label 'awe' has no training rows")]
    made = stream(tmp_path / "in", "data.split_policy.overlap=keep", "data.on_bad_row=skip")
    assert made.provenance.note.startswith("2 faulty rows skipped")


def test_rows_that_leave_nothing_to_train_on_are_counted(stream: Any, tmp_path: Path) -> None:
    copies = put_csv(tmp_path / "copies.csv", ROWS[:1] * 20)
    with pytest.raises(
        UserError, match=r"no row is left to train on: 4 test rows held out .*15 repeated .*1 training row"
    ):
        stream(copies)
    faulty = put_csv(tmp_path / "faulty.csv", [{**row, "text": ""} for row in ROWS])
    with pytest.raises(UserError, match=r"no row is left to train on: 40 faulty rows skipped"):
        stream(faulty, "data.on_bad_row=skip")


def test_tasks_without_training_rows_are_named(stream: Any, tmp_path: Path) -> None:
    lone = {"text": "a lone row", "label": "joy", "site": "web"}
    file = put_csv(tmp_path / "rows.csv", [*ROWS, lone, lone])
    made = stream(file, "data.columns.task=site")
    assert [task.name for task in made.tasks] == ["s0", "s1"]
    assert "task 'web' has 1 row, none left to train on: left out" in made.provenance.note
    assert "data.order" not in made.provenance.note


def test_a_number_of_tasks_beside_a_column_is_noted(stream: Any, one_file: Path) -> None:
    made = stream(one_file, "data.columns.task=site", "data.num_tasks=4")
    assert len(made.tasks) == 2 and "data.num_tasks=4 has no effect" in made.provenance.note
    assert "num_tasks" not in stream(one_file, "data.columns.task=site").provenance.note
    with pytest.raises(UserError, match=r"data\.labels_per_task=2 divides labels into tasks"):
        stream(one_file, "data.columns.task=site", "data.labels_per_task=2")


def test_too_many_tasks_are_told_how_many_fit(stream: Any, one_file: Path) -> None:
    with pytest.raises(UserError, match=r"data\.num_tasks=9 does not fit 4 labels; give 1 to 4"):
        stream(one_file, "data.num_tasks=9")


def test_a_jsonl_row_without_a_key_is_faulty(stream: Any, tmp_path: Path) -> None:
    file = put_jsonl(tmp_path / "rows.jsonl", [*ROWS, {"text": "no label"}])
    with pytest.raises(ProblemError, match=r"rows\.jsonl:41: the column 'label' is missing; there are 'text'"):
        stream(file)
    assert len(prompts(stream(file, "data.on_bad_row=skip"))) > 20


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.columns.answer=lable"],
            r"rows\.csv:1: .*'lable' is missing; there are 'text', 'label', 'site'\. Did you mean",
        ),
        (
            ["data.columns.text='{txt}'"],
            r"'txt' is missing.*Did you mean 'text'\? Name the right one with data\.columns",
        ),
        (["data.format.prompt_template='{txt}'"], r"'txt' is missing.*data\.format\.prompt_template"),
        (["data.kind=classifcation"], r"data\.kind='classifcation' is not known.*Did you mean 'classification'"),
        (["data.kind=choices"], r"data\.kind=choices and data\.columns\.choices go together"),
        (["data.tasks=column"], r"data\.tasks=column needs the name of that column"),
        (["data.tasks=files"], r"data\.tasks=files, but rows\.csv names no task"),
        (["data.columns.answer_form=word"], r"data\.columns\.answer_form='word' is not known"),
        (["data.num_tasks=5"], r"data\.num_tasks=5 does not fit 4 labels"),
        (
            ["data.order=[[joy],[angr]]"],
            r"the label 'angr', which has no training rows\. Did you mean 'anger'\? There are joy,",
        ),
        (["data.order=[joy,joy]"], r"data\.order=\[joy,joy\] must name at least one label, and none twice"),
        (["data.order=[joy,[fear]]"], r"mixes single labels and lists of labels"),
        (["data.order=[[joy],[]]"], r"data\.order gives task 1 no labels"),
        (["data.order=[joy]", "data.order_seed=1"], r"data\.order_seed must be null"),
        (["data.columns.task=site", "data.order=[s3]"], r"the task 's3', which has no training rows"),
        (
            ["data.splits={train: rows}", "data.columns.split=site"],
            r"has no training rows; the splits are told by rows",
        ),
    ],
)
def test_what_cannot_work_is_one_error(overrides: list[str], message: str, stream: Any, one_file: Path) -> None:
    with pytest.raises(UserError, match=message):
        stream(one_file, *overrides)


def test_a_missing_path_says_what_a_path_may_be(stream: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist or is empty\. Set data\.path to a csv, .*data\.hub\.revision"):
        stream(tmp_path / "nothing.csv")


def test_stand_in_is_read_whatever_the_columns_are_called(stream: Any) -> None:
    path = "${.default_path}"
    made = stream(path, "data.columns.text=review", "data.source=generated", "data.num_tasks=4")
    assert made.provenance.source == "generated" and [row[3] for row in sizes(made)] == [80] * 4
    domains = stream(path, "data.source=generated", "data.columns.task=domain")
    assert [task.name for task in domains.tasks][:2] == ["birthplace", "job"]
    with pytest.raises(UserError, match=r"data\.kind=choices needs files of your own"):
        stream(path, "data.source=generated", "data.kind=choices", "data.columns.choices=options")


def test_the_layout_reads_what_it_writes(stream: Any, tmp_path: Path) -> None:
    corpus, problems = LAYOUT.read(
        put_csv(tmp_path / "in" / "train.csv", [{**r, "task": r["site"]} for r in ROWS]).parent
    )
    assert not problems
    (tmp_path / "out").mkdir()
    LAYOUT.write(tmp_path / "out", corpus)
    again, problems = LAYOUT.read(tmp_path / "out")
    assert not problems and [i.fields for i in again.splits["test"]] == [i.fields for i in corpus.splits["test"]]


def test_real_intents_are_read_as_by_their_own_stream(stream: Any, real_data: Path) -> None:
    folder = real_data.parent / "text_classification" / "banking77"
    made = stream(folder, "data.columns.answer=category", "data.num_tasks=5", "data.labels_per_task=11")
    composed = compose.compose(["data=banking77", f"data.path={folder}", "data.num_tasks=5"], [catalog.conf_dir()])
    own: Any = OmegaConf.to_container(composed.data, resolve=True)
    banking = targets.instantiate(own | {"labels_per_task": 11, "order_seed": None})
    labels = [[label.replace("_", " ") for label in group] for group in made.tests[0].labels_by_task]
    assert labels == [list(group) for group in banking.tests[0].labels_by_task]
    assert sizes(made) == sizes(banking)
