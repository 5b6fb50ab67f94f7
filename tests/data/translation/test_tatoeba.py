"""Tatoeba: two files for a pair, test rows drawn from them, the other side's absence, real files and the stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Stream
from cmt_cli.data.labelled.held_out import HeldOut
from cmt_cli.data.translation.tatoeba import LAYOUT, tatoeba
from tests.data.translations import built, common, lines_into

NUMBERS = [str(i) for i in range(20)]


def put(folder: Path) -> Path:
    for code in ("deu", "fra"):
        lines_into(folder / f"v1/tatoeba.{code}-eng.{code}", [f"{code} {n}" for n in NUMBERS])
        lines_into(folder / f"v1/tatoeba.{code}-eng.eng", [f"eng {n}" for n in NUMBERS])
    return folder


def stream(path: Path, order: list[str], *, source: str = "real") -> Stream:
    return built(tatoeba, path, source=source, held_out=HeldOut(share=0.2, seed=0), **common(order))


def test_both_directions_test_the_same_fifth_of_the_rows(tmp_path: Path) -> None:
    made = stream(put(tmp_path), ["deu-eng", "eng-deu", "fra-eng"])
    tested = [{e.prompt.split()[-2] for e in test.examples} for test in made.tests]
    trained = [{e.prompt.split()[-2] for e in (*task.train, *task.validation)} for task in made.tasks]
    assert [len(rows) for rows in tested] == [4, 4, 4] and tested[0] == tested[1]
    assert all(one | other == set(NUMBERS) and not one & other for one, other in zip(tested, trained, strict=True))
    assert all(e.references[0].split()[-1] == e.prompt.split()[-2] for test in made.tests for e in test.examples)


def test_a_pair_without_its_other_side_is_a_fault(tmp_path: Path) -> None:
    (put(tmp_path) / "v1/tatoeba.deu-eng.eng").unlink()
    assert [p.message for p in LAYOUT.read(tmp_path)[1]] == ["lacks tatoeba.deu-eng.eng, the other side of its pair"]


def test_a_share_of_everything_or_nothing_is_refused() -> None:
    for share in (0.0, 1.0):
        with pytest.raises(UserError, match=r"data\.held_out\.share"):
            HeldOut(share=share, seed=0)
    assert len(HeldOut(share=0.99, seed=0).drawn("x", 2)) == 1 and not HeldOut(share=0.5, seed=0).drawn("x", 1)


def test_the_stand_in_passes_through_the_same_reader(tmp_path: Path) -> None:
    made = stream(tmp_path, ["deu-eng", "eng-deu"], source="generated")
    assert set(made.provenance.files) == {"tatoeba.deu-eng.deu", "tatoeba.deu-eng.eng"}
    assert [len(test.examples) for test in made.tests] == [4, 4]  # a fifth of 12 + 4 + 6


def test_the_real_files(real_data: Path) -> None:
    folder = real_data.parent / "machine_translation/tatoeba"
    if not folder.is_dir():
        pytest.skip(f"no real files at {folder}")
    made = stream(folder, ["deu-eng", "swh-eng", "eng-jpn"])
    sizes = [len(t.train) + len(t.validation) + len(s.examples) for t, s in zip(made.tasks, made.tests, strict=True)]
    assert all(0.95 * rows <= size <= rows for size, rows in zip(sizes, [1000, 390, 1000], strict=True))
    assert [len(test.examples) for test in made.tests] == [200, 78, 200]
