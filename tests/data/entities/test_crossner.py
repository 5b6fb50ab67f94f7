"""CrossNER: hand-made folders, every fault, the stand-in through the same reader, the real files."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.entities.crossner import DOMAINS, crossner, read
from cmt_cli.data.entities.entity_stream import entities_of
from cmt_cli.data.files.problems import ProblemError
from cmt_cli.data.labelled.items import SplitPolicy
from cmt_cli.data.labelled.labelled_stream import Format
from cmt_cli.data.world.entities import THEMES, Entities
from tests.data.labelled_settings import settings
from tests.data.written_files import faults, put_jsonl

SMALL = Entities(num_train=30, num_validation=4, num_test=5, mixed_share=0.3, seed=0)
MADE = {
    "train": "Moor\tB-politician\njoined\tO\nthe\tO\nLamp\tB-politicalparty\nParty\tI-politicalparty\n\nhi\tO\n\n",
    "dev": "Dale\tB-person\n\n",
    "test": "Reed\tB-politician\n",
}


def stream(path: Path, tmp_path: Path, **changes: Any) -> Stream:
    own: dict[str, Any] = {
        "default_path": str(tmp_path / "none"),
        "auto_may_generate": True,
        "order": ["politics"],
        "split_policy": SplitPolicy(validation_share=0.1, overlap="drop", seed=0),
        "format": Format(prompt_template="{text}\nEntities:", metric="span_f1", gives_task=False),
    }
    return crossner(**settings(path, tmp_path / "cache", SMALL, **own | changes))


def put(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, text in files.items():
        (folder / f"{stem}.txt").write_text(text, encoding="utf-8")
    return folder


def test_a_domain_is_read_into_questions_about_its_entities(tmp_path: Path) -> None:
    put(tmp_path / "files" / "ner_data" / "politics", **MADE)
    made = stream(tmp_path / "files", tmp_path)
    assert [e.prompt for e in made.tasks[0].train] == ["Moor joined the Lamp Party\nEntities:", "hi\nEntities:"]
    assert [e.target for e in made.tasks[0].train] == [" politician: Moor; politicalparty: Lamp Party", " none"]
    assert made.tests[0].examples[0].references == ("politician: Reed",)
    assert made.provenance.source == "real" and made.provenance.license == "not stated"
    assert set(made.provenance.files) == {f"ner_data/politics/{name}.txt" for name in ("train", "dev", "test")}


def test_span_json_and_other_domains_are_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "files" / "law"
    for stem, word in (("train", "Moor"), ("test", "Dale")):
        put_jsonl(folder / f"{stem}.jsonl", [{"text": f"{word} {i}", "entities": [[0, 4, "Judge"]]} for i in range(4)])
    made = stream(tmp_path / "files", tmp_path, order=["law"])
    assert made.tests[0].examples[0].references == ("judge: Dale",)
    assert len(made.tasks[0].train) + len(made.tasks[0].validation) == 4  # no validation file: carved


def test_faults_are_told_with_file_and_line(tmp_path: Path) -> None:
    put(tmp_path / "politics", **{**MADE, "train": "Moor\tB-x\n\nDale\n", "dev": ""})
    (tmp_path / "music").mkdir()
    put(tmp_path / "science", train=MADE["train"])
    assert faults(read, tmp_path) == [
        ("train.txt", 3, "has one column, 'Dale'; a token and its tag are needed, with a tab or space between"),
        ("dev.txt", None, "has no sentences"),
        ("science", None, "holds no test.txt"),
    ]
    assert faults(read, tmp_path / "music")[0][2] == "holds no folder of a domain with a train.txt"
    assert faults(read, tmp_path / "politics" / "dev.txt")[0][2] == "must be a folder with a folder for each domain"


def test_faulty_sentences_stop_the_run_or_are_skipped(tmp_path: Path) -> None:
    put(tmp_path / "files" / "politics", **{**MADE, "train": MADE["train"] + "Dale\n\n"})
    with pytest.raises(ProblemError, match=r"train\.txt:9: has one column, 'Dale'"):
        stream(tmp_path / "files", tmp_path)
    made = stream(tmp_path / "files", tmp_path, on_bad_row="skip")
    assert len(made.tasks[0].train) == 2
    assert "1 faulty row skipped" in made.provenance.note


def test_the_stand_in_goes_through_the_same_reader(tmp_path: Path) -> None:
    made = stream(tmp_path / "none", tmp_path, order=list(DOMAINS))
    assert made.provenance.source == "generated"
    splits = SMALL.corpus().splits
    for task, test, theme in zip(made.tasks, made.tests, THEMES, strict=True):
        answers = {item.fields["text"]: item.references for item in splits["test"] if item.task == theme}
        assert {e.prompt.removesuffix("\nEntities:"): e.references for e in test.examples} == answers
        assert len(task.train) > 20


def test_real_files_hold_one_entity_per_begin_tag(real_data: Path, tmp_path: Path) -> None:
    folder = real_data.parent / "ner" / "crossner"
    if not folder.is_dir():
        pytest.skip(f"no CrossNER at {folder}")
    corpus, problems = read(folder)
    assert problems == []
    for file in corpus.files:
        split = {"dev": "validation"}.get(file.stem, file.stem)
        items = [item for item in corpus.splits[split] if item.task == file.parent.name]
        begun = Counter(re.findall(r"\tB-(\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE))
        assert Counter(entity.type for item in items for entity in entities_of(item)) == begun
    made = stream(folder, tmp_path, order=["politics", "science", "music"])
    assert [len(test.examples) for test in made.tests] == [651, 543, 465]
    with pytest.raises(UserError, match="literature"):
        stream(folder, tmp_path, order=list(DOMAINS))
