"""Each stream out of made-up rows in the schema of its hub data set: prepared, checked, and read as it should be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Sequence, Value

from cmt_cli.data.classification import banking77, clinc150
from cmt_cli.data.entities import crossner, fewnerd, wnut_mit
from cmt_cli.data.files.fetched import fetched_into
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.published import PUBLISHED
from cmt_cli.data.hub.hub_files import CONVERTED
from cmt_cli.data.instructions import alpaca_skills, superni, superni_hub
from cmt_cli.data.knowledge import squad
from cmt_cli.data.labelled.items import LabelledCorpus
from cmt_cli.data.relations import fewrel, semeval2010, webnlg
from cmt_cli.data.translation import docs_mt, multi30k, tatoeba
from tests.command_line import cmt
from tests.data.hub.hub_server import Hub, as_lines, as_parquet, commit_of

pytestmark = pytest.mark.usefixtures("empty_folder")
TEXT = Value("string")
TEXTS = Sequence(TEXT)
SPLITS = ("train", "validation", "test")
SHARD = "00000-of-00001.parquet"


def items_of(found: tuple[LabelledCorpus, list[Problem]], split: str) -> list[Any]:
    corpus, problems = found
    assert problems == []
    return list(corpus.splits[split])


def labels(count: int, *first: str) -> ClassLabel:
    return ClassLabel(names=[*first, *(f"label_{n}" for n in range(count - len(first)))])


def test_banking77(hub: Hub) -> None:
    features = {"text": TEXT, "label": labels(77, "card_arrival")}
    train = [{"text": f'How, "{n}"?', "label": n % 77} for n in range(231)]
    test = [{"text": f"When, {n}?", "label": n} for n in range(77)]
    files = {f"data/train-{SHARD}": as_parquet(train, features), f"data/test-{SHARD}": as_parquet(test, features)}
    hub.put("PolyAI/banking77", "796a4623935746f71378f0ebd435635a8ce08e50", files)
    assert cmt("data", "prepare", "banking77") == 0
    found = items_of(banking77.read(Path("data/banking77")), "train")
    assert len(found) == 231 and (found[0].fields["text"], found[0].labels) == ('How, "0"?', ("card arrival",))


def test_clinc150(hub: Hub) -> None:
    features = {"text": TEXT, "intent": labels(151, "oos", "bill_due")}
    files = {
        f"plus/{split}-{SHARD}": as_parquet([{"text": f"{split} {n}", "intent": n % 151} for n in range(302)], features)
        for split in SPLITS
    }
    hub.put("clinc/clinc_oos", "155b9c710419136e17307b80d0a13e68cd46b4ec", files)
    assert cmt("data", "prepare", "clinc150") == 0
    document = json.loads(Path("data/clinc150/data_oos_plus.json").read_text())
    assert document["oos_val"] == [["validation 0", "oos"], ["validation 151", "oos"]]
    found = items_of(clinc150.read(Path("data/clinc150")), "validation")
    assert len(found) == 300 and (found[0].fields["text"], found[0].labels) == ("validation 1", ("bill due",))


def test_fewnerd(hub: Hub) -> None:
    features = {"id": TEXT, "tokens": TEXTS, "fine_ner_tags": Sequence(labels(67, "O", "art-film"))}
    files = {}
    for split in SPLITS:
        rows = [{"id": "0", "tokens": ["Tin", "Lamps", f"{split}{n}"], "fine_ner_tags": [n, n, 0]} for n in range(67)]
        files[f"supervised/{split}-{SHARD}"] = as_parquet(rows, features)
    hub.put("DFKI-SLT/few-nerd", "205f3e9c9f3577ea2561d43f2f62dc249ab92d5b", files)
    assert cmt("data", "prepare", "fewnerd", "--debug") == 0
    found = items_of(fewnerd.read(Path("data/fewnerd")), "validation")
    assert len(found) == 67 and found[0].references == ("none",)
    assert found[1].fields["text"] == "Tin Lamps validation1" and found[1].references == ("art-film: Tin Lamps",)


def test_crossner(hub: Hub) -> None:
    tags = ["O", "B-politician", "I-politician"]
    features = {"id": TEXT, "tokens": TEXTS, "ner_tags": Sequence(ClassLabel(names=tags))}
    files = {}
    for domain in crossner.DOMAINS:
        for split in SPLITS:
            rows = [{"id": "0", "tokens": ["Ann", "Moor", f"{split}{n}"], "ner_tags": [1, 2, 0]} for n in range(8)]
            files[f"{domain}/{split}/0000.parquet"] = as_parquet(rows, features)
    hub.put("DFKI-SLT/cross_ner", commit_of(1), files, CONVERTED)
    assert cmt("data", "prepare", "crossner") == 0
    assert fetched_into(Path("data/crossner")).datasets == {"DFKI-SLT/cross_ner": commit_of(1)}
    found = items_of(crossner.read(Path("data/crossner")), "test")
    assert [item.task for item in found[:9]] == ["ai"] * 8 + ["literature"]
    assert found[0].fields["text"] == "Ann Moor test0" and found[0].references == ("politician: Ann Moor",)


def test_wnut_and_mit_without_the_first_movie_corpus(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ("corporation", "creative-work", "group", "location", "person", "product")
    tags = ["O", *(f"{begin}-{kind}" for kind in kinds for begin in "BI")]
    features = {"id": TEXT, "tokens": TEXTS, "ner_tags": Sequence(ClassLabel(names=tags))}
    files = {}
    for split in SPLITS:
        rows = [{"id": "0", "tokens": ["Moor", split, str(n)], "ner_tags": [9, 0, 0]} for n in range(8)]
        files[f"wnut_17/{split}/0000.parquet"] = as_parquet(rows, features)
    hub.put("leondz/wnut_17", "1ac0b6d18c8a1a1d1606b24bef78b8af2f92d2d9", files, CONVERTED)
    for dataset, kind in (("tner/mit_restaurant", "Dish"), ("tner/mit_movie_trivia", "Actor")):
        files = {"dataset/label.json": json.dumps({"O": 0, f"B-{kind}": 1, f"I-{kind}": 2}).encode(), "mit.py": b""}
        for split in ("train", "valid", "test"):
            rows = [{"tokens": [split, "ada", "moor", str(n)], "tags": [0, 1, 2, 0]} for n in range(8)]
            files[f"dataset/{split}.json"] = as_lines(rows)
        hub.put(dataset, commit_of(3), files)
    assert cmt("data", "prepare", "wnut_mit") == 0
    assert "read it with data.order=[wnut17,restaurant,trivia]" in capsys.readouterr().out
    found = items_of(wnut_mit.read(Path("data/wnut_mit")), "test")
    assert {item.task: item.references[0] for item in found} == {
        "wnut17": "person: Moor",
        "restaurant": "dish: ada moor",
        "trivia": "actor: ada moor",
    }


def test_fewrel(hub: Hub) -> None:
    mention = {"text": TEXT, "type": TEXT, "indices": Sequence(Sequence(Value("int64")))}
    features = {"relation": TEXT, "tokens": TEXTS, "head": mention, "tail": mention, "names": TEXTS}

    def rows(first: int, last: int) -> list[dict[str, Any]]:
        return [
            {
                "relation": f"P{number}",
                "tokens": ["Ann", "Lee", "teaches", f"Bo{number}-{row}"],
                "head": {"text": "ann lee", "type": "Q1", "indices": [[0, 1]]},
                "tail": {"text": "bo", "type": "Q2", "indices": [[3]]},
                "names": [f"teacher {number}", "the first taught the second"],
            }
            for number in range(first, last)
            for row in range(6)
        ]

    files = {
        "default/train_wiki/0000.parquet": as_parquet(rows(0, 64), features),
        "default/val_wiki/0000.parquet": as_parquet(rows(64, 80), features),
        "default/val_nyt/0000.parquet": b"not asked for",
    }
    hub.put("thunlp/few_rel", commit_of(4), files, CONVERTED)
    assert cmt("data", "prepare", "fewrel_10x8") == 0
    found = items_of(fewrel.read(Path("data/fewrel")), "train")
    assert len(found) == 480 and found[-1].labels == ("teacher 79",)
    assert found[0].fields == {"text": "Ann Lee teaches Bo0-0", "head": "Ann Lee", "tail": "Bo0-0"}
    assert cmt("data", "prepare", "fewrel_8x10") == 0  # of the same files
    assert sum("/api/datasets/thunlp" in path for path in hub.asked) == 1


def test_semeval2010(hub: Hub) -> None:
    names = [f"{kind}({way})" for kind in semeval2010.KINDS.split() for way in ("e1,e2", "e2,e1")] + ["Other"]
    features = {"sentence": TEXT, "relation": ClassLabel(names=names)}
    files = {}
    for split in ("train", "test"):
        texts = [f'The <e1>ladle</e1> of the "<e2>cook</e2>" {split} {n}.' for n in range(57)]
        rows = [{"sentence": text, "relation": n % 19} for n, text in enumerate(texts)]
        files[f"data/{split}-{SHARD}"] = as_parquet(rows, features)
    hub.put("SemEvalWorkshop/sem_eval_2010_task_8", commit_of(5), files)
    assert cmt("data", "prepare", "semeval2010") == 0
    found = items_of(semeval2010.read(Path("data/semeval2010")), "test")
    assert (found[0].id, found[0].labels) == ("test-58", ("Cause-Effect(e1,e2)",))
    assert found[18].fields == {"text": 'The ladle of the "cook" test 18.', "head": "ladle", "tail": "cook"}


def test_webnlg(hub: Hub) -> None:
    features = {
        "category": TEXT,
        "size": Value("int32"),
        "eid": TEXT,
        "modified_triple_sets": {"mtriple_set": Sequence(TEXTS)},  # as the library stores a sequence of objects
        "lex": dict.fromkeys(("comment", "lid", "text", "lang"), TEXTS),
    }
    files = {}
    for split in ("train", "dev", "test"):
        rows = [
            {
                "category": category,
                "size": size,
                "eid": f"Id{size}",
                "modified_triple_sets": {"mtriple_set": [[f'Otto_Town | "area" | {n} & more' for n in range(size)]]},
                "lex": {"comment": ["good"], "lid": ["Id1"], "text": [f"{split} {category} <{size}>"], "lang": [""]},
            }
            for size in (2, 1)
            for category in ("Food", "City")
        ]
        files[f"release_v2/{split}/0000.parquet"] = as_parquet(rows, features)
    hub.put("webnlg-challenge/web_nlg", commit_of(6), files, CONVERTED)
    assert cmt("data", "prepare", "webnlg") == 0
    found = items_of(webnlg.read(Path("data/webnlg")), "validation")
    assert [item.fields["text"] for item in found] == [
        "dev City <1>",
        "dev Food <1>",
        "dev City <2>",
        "dev Food <2>",
    ]
    assert found[0].references == ("Otto Town | area | 0 & more",)


def test_multi30k_in_one_pair(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        f"{split}.jsonl": as_lines([{"en": f"A {split} {n}.\n", "de": f"Ein\u2028{split} {n}."} for n in range(4)])
        for split in ("train", "val", "test")
    }
    hub.put("bentrevett/multi30k", commit_of(7), files)
    assert cmt("data", "prepare", "multi30k") == 0
    assert "read it with data.directions.order=[en-de]" in capsys.readouterr().out
    found = items_of(multi30k.LAYOUT.read(Path("data/multi30k")), "test")
    pairs = {(item.fields["source"], item.references[0]) for item in found}
    assert len(found) == 4 and ("Ein\u2028test 3.", "A test 3.") in pairs


def test_docs_mt(hub: Hub) -> None:
    features = {"id": Value("int32"), "source": TEXT, "target": TEXT}
    files = {}
    for pair in docs_mt.PAIRS:
        for split in SPLITS:
            rows = [{"id": n, "source": f"Vælg {split} {n}\n", "target": f"Choose {split} {n}\n"} for n in range(4)]
            files[f"{pair.replace('-', '_')}/{split}/0000.parquet"] = as_parquet(rows, features)
    hub.put("google/code_x_glue_tt_text_to_text", commit_of(8), files, CONVERTED)
    assert cmt("data", "prepare", "docs_mt") == 0
    found = items_of(docs_mt.LAYOUT.read(Path("data/docs_mt")), "test")
    assert len(found) == 16
    assert (found[0].task, found[0].fields["source"], found[0].references) == (
        "da-en",
        "Vælg test 0",
        ("Choose test 0",),
    )


def test_tatoeba(hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    digest = hashlib.sha256("".join(f"Hund {n}.\n" for n in range(10)).encode()).hexdigest()
    monkeypatch.setitem(PUBLISHED, "tatoeba", frozenset({digest}))
    features = {"sentence1": TEXT, "sentence2": TEXT, "lang": TEXT}
    files = {}
    for pair in tatoeba.PAIRS:
        rows = [{"sentence1": f"Hund {n}.", "sentence2": f"Dog {n}.", "lang": pair} for n in range(10)]
        files[f"{pair}/test/0000.parquet"] = as_parquet(rows, features)
    hub.put("mteb/tatoeba-bitext-mining", commit_of(9), files, CONVERTED)
    assert cmt("data", "prepare", "tatoeba") == 0
    assert "16 of 32 files fetched are the published ones, byte by byte" in capsys.readouterr().out
    assert Path("data/tatoeba/tatoeba.deu-eng.eng").read_text() == "".join(f"Dog {n}.\n" for n in range(10))
    found = items_of(tatoeba.LAYOUT.read(Path("data/tatoeba")), "train")
    assert len(found) == 160 and found[0].fields["source"] == "Hund 0."


def test_alpaca(hub: Hub) -> None:
    features = dict.fromkeys(("instruction", "input", "output", "text"), TEXT)
    skills = ("Write", "Explain", "List", "Classify", "Rewrite", "Calculate")
    rows = [
        {"instruction": f"{skill} it, {n}.", "input": "", "output": f"é {n}", "text": "unused"}
        for skill in skills
        for n in range(12)
    ]
    files = {"data/train-00000-of-00001-a09b74b3ef9c3b56.parquet": as_parquet(rows, features)}
    hub.put("tatsu-lab/alpaca", "dce01c9b08f87459cf36a430d809084718273017", files)
    assert cmt("data", "prepare", "alpaca_skills") == 0
    found = items_of(alpaca_skills.read(Path("data/alpaca")), "train")
    assert len(found) == 72 and found[0].fields == {"instruction": "Write it, 0.", "input": ""}


def test_superni_joins_the_outputs_of_an_instance(hub: Hub) -> None:
    files = {}
    for task in superni_hub.TASKS:
        rows = [
            {
                "task_name": task,
                "id": f"{task}-{n // 2}",
                "definition": "Say it.",
                "inputs": f"in {n // 2}",
                "targets": text,
            }
            for n, text in enumerate(["a", "b"] * 20)
        ]
        split = "test" if "181" in task else "train"
        files[f"{split}/{task}_{split}.jsonl"] = as_lines(rows)
    hub.put("Muennighoff/natural-instructions", commit_of(10), files)
    assert cmt("data", "prepare", "superni_o1") == 0
    found = items_of(superni.read(Path("data/superni"), order=[181]), "train")
    assert len(found) == 20 and found[1].references == ("a", "b")
    assert found[1].fields == {"definition": "Say it.", "examples": "", "input": "in 1"}
    assert cmt("data", "prepare", "superni_o2") == 0  # of the same files


def test_squad(hub: Hub) -> None:
    answers = Sequence({"text": TEXT, "answer_start": Value("int32")})
    features = {"id": TEXT, "title": TEXT, "context": TEXT, "question": TEXT, "answers": answers}
    files = {}
    for split in ("train", "validation"):
        rows = [
            {
                "id": f"{split}-{n}",
                "title": f"T{n // 4}",
                "context": f"{split} {n // 2}",
                "question": f"What {n}?",
                "answers": {"text": [split], "answer_start": [0]},
            }
            for n in range(40)
        ]
        files[f"plain_text/{split}-{SHARD}"] = as_parquet(rows, features)
    hub.put("rajpurkar/squad", "7b6d24c440a36b6815f21b70d25016731768db1f", files)
    assert cmt("data", "prepare", "squad") == 0
    corpus, problems = squad.read(Path("data/squad"))
    assert problems == []
    part = corpus.part("test")
    assert (len(part.documents), part.documents[1].id, part.questions[2].text) == (20, "T0/3", "What 2?")
