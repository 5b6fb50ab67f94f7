"""SQuAD: single files divided by article, the published files cut by index, faults with their lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.files.origin import Shares
from cmt_cli.data.hub.hub_files import Tables
from cmt_cli.data.knowledge import squad, squad_files
from cmt_cli.data.knowledge.qa_corpus import QACorpus
from cmt_cli.data.knowledge.squad import read
from cmt_cli.data.world.stand_in import StandIn
from tests.data.written_files import faults, selection


def article(title: str, num_paragraphs: int = 2, num_questions: int = 2) -> dict[str, Any]:
    paragraphs = [
        {
            "context": f"{title}, paragraph {number}.",
            "qas": [
                {
                    "id": f"{title}-{number}-{index}",
                    "question": f"What is {index}?",
                    "answers": [{"text": "paragraph", "answer_start": 4}, {"text": "a paragraph", "answer_start": 2}],
                }
                for index in range(num_questions)
            ],
        }
        for number in range(num_paragraphs)
    ]
    return {"title": title, "paragraphs": paragraphs}


def put_squad(path: Path, articles: list[Any], indent: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "1.1", "data": articles}, indent=indent), encoding="utf-8")
    return path


def shares(seed: int = 0) -> Shares:
    return Shares(train=2, validation=1, test=1, seed=seed)


def stream_of(path: Path, world: StandIn, cache: Path, **changes: Any) -> Stream:
    return squad.squad(
        path=str(path),
        default_path="data/squad",
        source="auto",
        auto_may_generate=False,
        cache=str(cache),
        num_tasks=4,
        unanswerable="skip",
        split_by="article",
        split=Shares(train=0.6667, validation=0.16665, test=0.16665, seed=0),
        selection=selection(**changes),
        prompt_template="{question}",
        capitalize_answers=True,
        generated=world,
    )


def titles(corpus: QACorpus, split: str) -> set[str]:
    return {document.id.split("/")[0] for document in corpus.part(split).documents}


def test_a_single_file_is_divided_by_whole_articles(tmp_path: Path) -> None:
    path = put_squad(tmp_path / "dev.json", [article(f"T_{n}") for n in range(8)])
    corpus, problems = read(path)
    divided = corpus.divided(shares())
    assert problems == []
    assert [len(titles(divided, split)) for split in ("train", "validation", "test")] == [4, 2, 2]
    assert titles(divided, "train") | titles(divided, "validation") | titles(divided, "test") == {
        f"T_{n}" for n in range(8)
    }
    document = divided.part("test").documents[0]
    assert document.id == f"{document.id[:3]}/0"
    assert document.title == document.id[:3].replace("_", " ")


def test_a_folder_with_one_json_file_is_that_file(tmp_path: Path) -> None:
    path = put_squad(tmp_path / "dev.json", [article("A")])
    assert read(tmp_path) == read(path)


def test_the_published_files_are_cut_at_the_published_indices(tmp_path: Path) -> None:
    # 87,599 questions: 87 articles of 1,000 and one of 599, in paragraphs of one question each
    articles = [article(f"T{n}", num_paragraphs=1000, num_questions=1) for n in range(87)]
    put_squad(tmp_path / "train-v1.1.json", [*articles, article("T87", num_paragraphs=599, num_questions=1)])
    put_squad(tmp_path / "dev-v1.1.json", [article("D")])
    corpus, problems = read(tmp_path)
    assert problems == []
    train, validation, test = (corpus.part(split).questions for split in ("train", "validation", "test"))
    assert (len(train), train[0].id, train[-1].id) == (39_893, "T42-118-0", "T82-10-0")
    assert (len(validation), validation[0].id, validation[-1].id) == (5_588, "T82-11-0", "T87-598-0")
    assert {question.id.split("-")[0] for question in test} == {"D"}


def test_a_train_file_of_another_size_gives_validation_articles(tmp_path: Path) -> None:
    put_squad(tmp_path / "train-v1.1.json", [article(f"T{n}") for n in range(6)])
    put_squad(tmp_path / "dev-v1.1.json", [article("D")])
    corpus = read(tmp_path)[0].divided(shares())
    assert [len(titles(corpus, split)) for split in ("train", "validation", "test")] == [4, 2, 1]


def test_a_validation_file_is_taken_as_it_is(tmp_path: Path) -> None:
    for name in ("train", "validation", "dev"):
        put_squad(tmp_path / f"{name}-v1.1.json", [article(name)])
    corpus, _ = read(tmp_path)
    assert [titles(corpus, split) for split in ("train", "validation", "test")] == [{"train"}, {"validation"}, {"dev"}]


def test_articles_may_lack_titles_and_ids_may_be_numbers(tmp_path: Path) -> None:
    bare = {"paragraphs": [{"context": "C", "qas": [{"id": 7, "question": "?", "answers": [{"text": "a"}]}]}]}
    corpus, problems = read(put_squad(tmp_path / "covid.json", [bare]))
    assert problems == []
    part = corpus.parts[0]
    assert (part.documents[0].id, part.documents[0].title, part.questions[0].id) == ("covid-0/0", None, "7")


def test_all_problems_are_listed_with_path_and_line(tmp_path: Path) -> None:
    broken = article("A", num_paragraphs=3)
    first, second, third = (paragraph["qas"] for paragraph in broken["paragraphs"])
    first[0]["answers"] = []
    first[1]["id"] = "A-2-0"
    second[0]["question"] = ""
    del second[1]["answers"][0]["text"]
    third[1] = "text"
    broken["paragraphs"][1]["context"] = 5
    path = put_squad(tmp_path / "f.json", [broken, {"title": "B"}], indent=0)
    lines = path.read_text().splitlines()
    found = faults(read, path)
    assert [(message, lines[line - 2]) for _, line, message in found if line] == [
        ("data[0].paragraphs[0].qas[0]: the question has no answer", '"qas": ['),
        ("data[0].paragraphs[1]: 'context' must be a string, not a number", "},"),
        ("data[0].paragraphs[2].qas: item 1 must be an object, not a string", '"context": "A, paragraph 2.",'),
        ("data[1]: needs a list 'paragraphs'; it is missing", "},"),
        ("data[0].paragraphs[2].qas[0]: the question id 'A-2-0' occurs twice", '"qas": ['),
    ]


@pytest.mark.parametrize("content", ["[]", "{}", '{"data": {}}', '{"data": []}', "3", '{"data": [1]}'])
def test_other_json_is_a_problem(tmp_path: Path, content: str) -> None:
    (tmp_path / "f.json").write_text(content)
    assert len(faults(read, tmp_path / "f.json")) == 1


def test_a_folder_without_the_files_says_what_it_holds(tmp_path: Path) -> None:
    put_squad(tmp_path / "a.json", [])
    put_squad(tmp_path / "b.json", [])
    ((_, _, message),) = faults(read, tmp_path)
    assert "must hold train-v1.1.json and dev-v1.1.json, or a single json file; it holds a.json, b.json" in message


def test_the_hubs_rows_become_the_published_files(tmp_path: Path) -> None:
    def rows(articles: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "id": qa["id"],
                "title": found["title"],
                "context": paragraph["context"],
                "question": qa["question"],
                "answers": {
                    "text": [answer["text"] for answer in qa["answers"]],
                    "answer_start": [answer["answer_start"] for answer in qa["answers"]],
                },
            }
            for found in articles
            for paragraph in found["paragraphs"]
            for qa in paragraph["qas"]
        ]

    class HubTables:
        def rows(self, split: str) -> list[dict[str, Any]]:
            return rows(train if split == "train" else dev)

    train, dev = [article("A"), article("B")], [article("C")]
    squad_files.HUB.sources[0].write(tmp_path, cast(Tables, HubTables()))
    assert json.loads((tmp_path / "train-v1.1.json").read_text())["data"] == train
    assert json.loads((tmp_path / "dev-v1.1.json").read_text())["data"] == dev


def test_real_dev_file_is_complete_and_divided_by_title(real_data: Path, small_world: StandIn, tmp_path: Path) -> None:
    path = real_data / "squad" / "dev-v1.1.json"
    corpus, problems = read(path)
    assert problems == []
    (part,) = corpus.parts
    assert (len(part.documents), len(part.questions)) == (2067, 10570)
    assert sum(len(question.references) for question in part.questions) <= 34726
    divided = corpus.divided(Shares(train=0.6667, validation=0.16665, test=0.16665, seed=0))
    assert [len(titles(divided, split)) for split in ("train", "validation", "test")] == [32, 8, 8]

    stream = stream_of(path, small_world, tmp_path)
    assert stream.provenance.source == "real"
    assert sum(len(task.documents) for task in stream.tasks) == len(divided.part("test").documents)
    texts = {document.id: document.text for task in stream.tasks for document in task.documents}
    for test in stream.tests:
        for example in test.examples:
            assert example.references[0].strip() in texts[example.document_ids[0]]


@pytest.mark.parametrize(
    ("name", "counts"), [("squad/xquad.en.json", (240, 1190)), ("covidqa/200423_covidQA.json", (39, 519))]
)
def test_other_real_files_of_the_layout_are_read(real_data: Path, name: str, counts: tuple[int, int]) -> None:
    corpus, problems = read(real_data / name)
    assert problems == []
    assert (len(corpus.parts[0].documents), len(corpus.parts[0].questions)) == counts


def put_squad2(path: Path) -> Path:
    found = article("A", num_questions=2)
    for paragraph in found["paragraphs"]:
        paragraph["qas"][1] |= {"is_impossible": True, "answers": [], "plausible_answers": [{"text": "paragraph"}]}
    return put_squad(path, [found])


def test_unanswerable_questions_are_counted_or_get_an_answer(tmp_path: Path) -> None:
    path = put_squad2(tmp_path / "dev-v2.0.json")
    corpus, problems = read(path)
    num_paragraphs = len(corpus.parts[0].documents)
    assert problems == [] and corpus.notes == (f"{num_paragraphs} unanswerable questions left out",)
    assert [question.text for question in corpus.parts[0].questions] == ["What is 0?"] * num_paragraphs
    corpus, problems = read(path, unanswerable="no answer")
    assert problems == [] and corpus.notes == ()
    assert {q.references for q in corpus.parts[0].questions if q.text == "What is 1?"} == {("no answer",)}


def test_one_article_is_divided_by_paragraphs_on_request(tmp_path: Path) -> None:
    path = put_squad(tmp_path / "dev.json", [article("A", num_paragraphs=4)])
    with pytest.raises(UserError, match=r"1 group of documents .* data\.split_by=paragraph"):
        read(path)[0].divided(shares())
    divided = read(path, by_paragraph=True)[0].divided(shares())
    assert [len(divided.part(split).documents) for split in ("train", "validation", "test")] == [2, 1, 1]


def test_questions_without_ids_are_named_by_paragraph(tmp_path: Path) -> None:
    found = article("A", num_paragraphs=2, num_questions=2)
    for paragraph in found["paragraphs"]:
        for qa in paragraph["qas"]:
            del qa["id"]
    corpus, problems = read(put_squad(tmp_path / "dev.json", [found]))
    assert problems == []
    assert [question.id for question in corpus.parts[0].questions] == ["A/0/0", "A/0/1", "A/1/0", "A/1/1"]


def test_the_license_is_that_of_recognized_files_alone(real_data: Path, small_world: StandIn, tmp_path: Path) -> None:
    xquad, covid = real_data / "squad" / "xquad.en.json", real_data / "covidqa" / "200423_covidQA.json"
    assert stream_of(xquad, small_world, tmp_path).provenance.license == "CC BY-SA 4.0"
    assert stream_of(covid, small_world, tmp_path).provenance.license == "not stated"


def test_the_same_call_gives_the_same_stream(real_data: Path, small_world: StandIn, tmp_path: Path) -> None:
    path = real_data / "squad" / "xquad.en.json"
    limits = {"pick": "random", "max_test_documents": 20, "max_test_questions_per_document": 3}
    assert stream_of(path, small_world, tmp_path, **limits) == stream_of(path, small_world, tmp_path, **limits)
