"""Super-NaturalInstructions and CITB: both layouts, every fault with its line, orders, real files and the stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.instructions.citb import citb
from cmt_cli.data.instructions.superni import LAYOUT, Shots, superni
from tests.data.instruction_settings import HELD_OUT, common, put_json
from tests.data.translations import built

TEMPLATE = "{definition}\n{examples}Input: {input}\nOutput:"
SHOTS = Shots(number=1, template="({number}) {input} -> {output}\n")


def task(word: str, numbers: range) -> dict[str, Any]:
    return {
        "Contributors": ["nobody"],
        "Definition": [f"Say {word}."],
        "Positive Examples": [
            {"input": "{input}", "output": word, "explanation": "why"},
            {"input": "not shown", "output": word},
        ],
        "Instances": [{"id": f"{word}-{i}", "input": f"number {i}", "output": [f"{word} {i}", word]} for i in numbers],
    }


def put(folder: Path) -> Path:
    """Write one task as SAPT does, dev equal to test, and one as upstream does."""
    for name, numbers in (("train", range(8)), ("dev", range(20, 24)), ("test", range(20, 24))):
        put_json(folder / f"SuperNI/task1572_samsum_summary/{name}.json", task("yes", numbers))
    put_json(folder / "SuperNI/task002_quoref_answer_generation.json", task("no", range(12)))
    put_json(folder / "SuperNI/task999_other.json", {"not": "read"})
    return folder


def stream(path: Path, order: list[int], *, on_bad_row: str = "error", missing_tasks: str = "error") -> Stream:
    settings = common(order, TEMPLATE, missing_tasks=missing_tasks)
    return built(
        superni, path, on_bad_row=on_bad_row, name="superni_o1", order=order, shots=SHOTS, held_out=HELD_OUT, **settings
    )


def faults(path: Path) -> list[tuple[str, int | None, str]]:
    return [(problem.file.name, problem.line, problem.message) for problem in LAYOUT.read(path)[1]]


def test_a_prompt_has_definition_examples_and_input(tmp_path: Path) -> None:
    made = stream(put(tmp_path), [2, 1572])
    assert [t.name for t in made.tasks] == ["task002_quoref_answer_generation", "task1572_samsum_summary"]
    example = made.tasks[1].train[0]
    assert example.prompt == "Say yes.\n(1) {input} -> yes\nInput: number 0\nOutput:"
    assert example.target == " yes 0" and example.references == ("yes 0", "yes") and example.id == "yes-0"
    assert made.name == "superni_o1"


def test_dev_copies_of_test_rows_are_no_validation_rows(tmp_path: Path) -> None:
    made = stream(put(tmp_path), [1572])
    assert [e.id for e in made.tests[0].examples] == [f"yes-{i}" for i in range(20, 24)]
    assert len(made.tasks[0].train) == 6 and len(made.tasks[0].validation) == 2  # a quarter of 8, carved
    assert "since they are the test rows; 2 validation rows carved" in made.provenance.note


def test_a_file_of_a_whole_task_is_divided(tmp_path: Path) -> None:
    made = stream(put(tmp_path), [2])
    rows = [{e.id for e in rows} for rows in (made.tasks[0].train, made.tasks[0].validation, made.tests[0].examples)]
    assert len(rows[2]) == 3 and set().union(*rows) == {f"no-{i}" for i in range(12)}
    assert sum(map(len, rows)) == 12


def test_tasks_that_are_missing_are_refused_or_noted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no training rows of 1 of 2 tasks: task073"):
        stream(put(tmp_path), [73, 2])
    made = stream(tmp_path, [73, 2], missing_tasks="skip")
    assert len(made.tasks) == 1 and "left out: task073" in made.provenance.note
    with pytest.raises(UserError, match="none twice"):
        stream(tmp_path, [2, 2])


def test_faults_have_lines_and_faulty_rows_may_be_skipped(tmp_path: Path) -> None:
    content = task("yes", range(5))
    content["Positive Examples"] = []
    content["Instances"][1] = {"id": "a", "input": "x"}
    content["Instances"][2] = ["no object"]
    content["Instances"][3] = {"id": "c", "input": " ", "output": ["y"]}
    put_json(tmp_path / "task002_x.json", content)
    assert faults(tmp_path) == [
        ("task002_x.json", 18, "Instances[1]: the key 'output' is missing; there are 'id', 'input'."),
        ("task002_x.json", 22, "Instances[2]: must be an object, not a list"),
        ("task002_x.json", 25, "Instances[3]: 'input' is empty"),
    ]
    made = stream(tmp_path, [2], on_bad_row="skip")
    assert {e.id for rows in (made.tasks[0].train, made.tests[0].examples) for e in rows} == {"yes-0", "yes-4"}
    assert "3 faulty rows skipped" in made.provenance.note


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must be an object, not a list"),
        ({"Instances": []}, "'Definition' must be a text, or a list of texts"),
        ({"Definition": "a", "Instances": []}, "'Instances': the list is empty"),
        ({"Definition": "a"}, "'Instances': must be a list of objects, not null"),
    ],
)
def test_a_file_of_another_shape_is_refused_whole(tmp_path: Path, content: Any, message: str) -> None:
    put_json(tmp_path / "task002_x.json", content)
    assert [(line, text) for _, line, text in faults(tmp_path)] == [(None, message)]


def test_citb_takes_one_of_its_orders(tmp_path: Path) -> None:
    orders = {"one": [2], "two": [1572, 2]}
    settings = {"orders": orders, "shots": SHOTS, "held_out": HELD_OUT, **common([2], TEMPLATE)}
    assert len(built(citb, put(tmp_path), stream="two", **settings).tasks) == 2
    with pytest.raises(UserError, match=r"data\.stream='three' is not known; allowed: one, two"):
        built(citb, tmp_path, stream="three", **settings)


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    order = [1572, 2, 363, 4, 5, 6]
    settings = {"name": "superni_o1", "order": order, "shots": SHOTS, "held_out": HELD_OUT, **common(order, TEMPLATE)}
    made = built(superni, tmp_path, source="generated", **settings)
    assert [t.name for t in made.tasks] == [f"task{number:03d}_generated" for number in order]
    assert [(len(t.train), len(t.validation)) for t in made.tasks] == [(10, 4)] * 6  # two of 12 are the examples
    shown = made.tasks[0].train[0].prompt.split("\n")
    assert shown[0] == "Which pet?" and shown[1].startswith("(1) ") and shown[2].startswith("Input: ")
    assert made.tasks[5].train[0].prompt.startswith("Which dish?")


def test_the_real_files(real_data: Path) -> None:
    folder = real_data.parent / "instruction_tuning/SuperNI"
    if not folder.is_dir():
        pytest.skip(f"no real files at {folder}")
    made = stream(folder, [748, 73, 639, 1572, 1687, 363, 1510, 1729, 511, 1290], on_bad_row="skip")
    assert [len(test.examples) for test in made.tests] == [60, 60, 11, 12, 60, 60, 60, 60, 60, 60]
    assert max(len(e.references) for e in made.tests[0].examples) == 2
