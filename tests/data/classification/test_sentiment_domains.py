"""Sentiment in four domains: rated sentences, whole texts held out, the source archive of a package index."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.classification import sentiment_domains as module
from cmt_cli.data.classification.sentiment_domains import FILE_OF_DOMAIN, LAYOUT, fetch, read, sentiment_domains
from cmt_cli.data.files.package_index import Release
from cmt_cli.data.labelled.held_out import HeldOut
from cmt_cli.data.world.judgments import Sentiments
from tests.data.labelled_settings import faults, rows, settings, sizes

SMALL = Sentiments(num_train=10, num_validation=2, num_test=4, seed=0)
LINES = "".join(f"{n}_{k}\t{(-1) ** n * 2.5}\tSentence {k} of text {n}.\n" for n in range(10) for k in range(3))


def put(folder: Path, **changed: str) -> Path:
    folder.mkdir()
    for domain, name in FILE_OF_DOMAIN.items():
        (folder / name).write_text(changed.get(domain, LINES.replace("text", domain)), encoding="utf-8")
    return folder


def stream(folder: Path, cache: Path, **changes: Any) -> Stream:
    own: dict[str, Any] = {"order": list(FILE_OF_DOMAIN), "threshold": 0.5}
    own |= {"test": HeldOut(share=0.2, seed=0), "validation": HeldOut(share=0.25, seed=0)}
    return sentiment_domains(**settings(folder, cache, SMALL, **own | changes))


def test_the_sign_of_the_mean_rating_is_the_label(tmp_path: Path) -> None:
    corpus, problems = read(put(tmp_path / "rated", movies="1\t2.4\tIt shines.\n2\t-0.1\tIt drags.\n"))
    assert problems == []
    assert rows(corpus, "train")[:2] == [("movies", "It shines.", "positive"), ("movies", "It drags.", "negative")]


def test_sentences_rated_near_zero_are_left_out_counted(tmp_path: Path) -> None:
    folder = put(tmp_path / "rated", tweets="1\t0.5\tHm.\n2\t-0.51\tNo.\n3\t0\tA day.\n")
    corpus, _ = read(folder, threshold=0.5)
    assert [text for task, text, _ in rows(corpus, "train") if task == "tweets"] == ["No."]
    assert corpus.notes == ("2 sentences rated within 0.5 of 0 left out",)


def test_the_sentences_of_a_text_stay_in_one_split(tmp_path: Path) -> None:
    made = stream(put(tmp_path / "rated"), tmp_path)
    assert sizes(made)[0] == ("movies", 18, 6, 6)  # of 10 texts with 3 sentences: 2 are tested, then 2 validate
    for task, test in zip(made.tasks, made.tests, strict=True):
        texts = [{e.id.partition("_")[0] for e in split} for split in (task.train, task.validation, test.examples)]
        assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])


def test_all_tasks_have_both_labels_as_choices(tmp_path: Path) -> None:
    made = stream(put(tmp_path / "rated"), tmp_path, order=["tweets", "movies"])
    assert [test.name for test in made.tests] == ["tweets", "movies"]
    assert set(made.tests[1].examples[0].choices) == {" negative", " positive"}


def test_faults_are_reported_with_their_lines(tmp_path: Path) -> None:
    folder = put(tmp_path / "rated", tweets="1\t2\tFine.\n2\t5\tToo much.\n3\tnan\tOdd.\n4\t1\n5\t1\t \n")
    (folder / FILE_OF_DOMAIN["products"]).unlink()
    assert faults(read, folder) == [
        ("rated", None, "holds no amazonReviewSnippets_GroundTruth.txt"),
        ("tweets_GroundTruth.txt", 2, "the rating '5' is no number from -4 to 4"),
        ("tweets_GroundTruth.txt", 3, "the rating 'nan' is no number from -4 to 4"),
        ("tweets_GroundTruth.txt", 4, "must have an id, a rating and a sentence, with tabs between them"),
        ("tweets_GroundTruth.txt", 5, "must have an id, a rating and a sentence, with tabs between them"),
    ]


@pytest.mark.parametrize("threshold", [-0.1, 4.0])
def test_a_threshold_that_no_rating_passes_is_refused(threshold: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.threshold"):
        stream(put(tmp_path / "rated"), tmp_path, threshold=threshold)


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    made = stream(Path("data/somewhere"), tmp_path, source="generated")
    assert made.provenance.source == "generated"
    assert [test.name for test in made.tests] == list(FILE_OF_DOMAIN)
    assert all(task.train and task.validation for task in made.tasks)


def packed(members: dict[str, bytes]) -> bytes:
    """Return a tar.gz archive."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return sink.getvalue()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A package index in the place of pip's: the source archive that it gives is the value of "archive"."""
    inner = packed({f"hutto_ICWSM_2014/{name}": LINES.encode() for name in FILE_OF_DOMAIN.values()})
    held = {"archive": packed({"vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": inner})}

    def download(command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
        (place,) = [Path(part.partition("=")[2]) for part in command if part.startswith("--dest=")]
        (place / "vaderSentiment-3.3.2.tar.gz").write_bytes(held["archive"])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    digest = hashlib.sha256(held["archive"]).hexdigest()
    monkeypatch.setattr(module, "RELEASE", Release(requirement="vaderSentiment==3.3.2", sha256=digest))
    return held


def test_the_files_come_out_of_the_package_index(index: dict[str, bytes], tmp_path: Path) -> None:
    assert fetch(tmp_path / "data", lambda what, done, total: None)
    assert {file.name for file in (tmp_path / "data").iterdir()} == set(FILE_OF_DOMAIN.values())
    assert LAYOUT.read(tmp_path / "data")[1] == []
    assert not fetch(tmp_path / "data", lambda what, done, total: None)


def test_another_archive_of_that_name_is_refused(index: dict[str, bytes], tmp_path: Path) -> None:
    index["archive"] += b"\0"
    with pytest.raises(UserError, match=r"has the sha256 \w+, expected was"):
        fetch(tmp_path / "data", lambda what, done, total: None)
    assert not (tmp_path / "data").exists()
