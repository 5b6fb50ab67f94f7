"""Tagged sentences: every scheme and layout gives the same entities; every fault is told with its line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_cli.core.exceptions import CmtWarning
from cmt_cli.core.spans import Entity
from cmt_cli.data.files.conll import (
    Sentence,
    bio_tags,
    read_columns,
    read_token_lines,
    write_columns,
    write_token_lines,
)
from cmt_cli.data.files.problems import Problem

Reader = Callable[[Path, list[Problem]], list[Sentence]]
MOOR = (Entity("person", "Ada Moor"), Entity("city", "Kelham"), Entity("city", "Norford"))


def put(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "train.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def read(reader: Reader, file: Path) -> tuple[list[Sentence], list[tuple[int | None, str]]]:
    problems: list[Problem] = []
    sentences = reader(file, problems)
    return sentences, [(problem.line, problem.message) for problem in problems]


@pytest.mark.parametrize(
    "tags",
    [
        "B-person I-person O B-city B-city",  # BIO
        "I-person I-person O I-city B-city",  # IOB1
        "B-person E-person O S-city S-city",  # BIOES
        "B-person L-person O U-city U-city",  # BILOU
    ],
)
@pytest.mark.parametrize("line", ["{token}\t{tag}\n", "{token} NN - {tag}\r\n", "{token}\tx\t{tag}\n"])
def test_all_schemes_and_columns_give_the_same_entities(tmp_path: Path, tags: str, line: str) -> None:
    rows = zip("Ada Moor saw Kelham Norford".split(), tags.split(), strict=True)
    text = "-DOCSTART- -X- O O\n\n" + "".join(line.format(token=token, tag=tag) for token, tag in rows)
    sentences, problems = read(read_columns, put(tmp_path, text))
    assert problems == []
    assert sentences == [Sentence(("Ada", "Moor", "saw", "Kelham", "Norford"), MOOR, 3)]


def test_neighboring_prefixless_tags_of_one_type_are_one_entity(tmp_path: Path) -> None:
    text = "Tin\tart-music\nLamps\tart-music\nBlue\tart-film\nby\tO\nMoor\tperson-artist/author\n\n"
    (sentence,), problems = read(read_columns, put(tmp_path, text))
    assert problems == []
    expected = (Entity("art-music", "Tin Lamps"), Entity("art-film", "Blue"), Entity("person-artist/author", "Moor"))
    assert sentence.entities == expected


def test_a_token_line_may_hold_colons(tmp_path: Path) -> None:
    text = "at:O 10:30:B-Hours by:O Moor:B-Chef <=> <NULL>\n\nhi:O <=> <NULL>\n"
    sentences, problems = read(read_token_lines, put(tmp_path, text))
    assert problems == []
    assert sentences[0].tokens == ("at", "10:30", "by", "Moor")
    assert [sentence.entities for sentence in sentences] == [(Entity("Hours", "10:30"), Entity("Chef", "Moor")), ()]
    assert [sentence.line for sentence in sentences] == [1, 3]


def test_byte_order_mark_and_gzip_are_no_obstacle(tmp_path: Path) -> None:
    sentences, problems = read(read_columns, put(tmp_path, gzip.compress("\ufeffMoor\tB-person\r\n".encode())))
    assert problems == []
    assert sentences == [Sentence(("Moor",), (Entity("person", "Moor"),), 1)]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a\tO\n\nMoor\nb\tO\n\nc\tO\n", 3, "has one column, 'Moor'"),
        ("a\tO\n\nMoor\tx\tO\n\nc\tO\n", 3, "has 3 columns where the first line has 2"),
        ("a\tO\n\n\tO\n\nc\tO\n", 3, "has no token before the tag"),
        ("a\tO\n\nMoor\t\n\nc\tO\n", 3, "has no tag after the token 'Moor'"),
        ("a\tB-x\n\nb\tO\nMoor\tperson\n\nc\tO\n", 4, "the tag 'person' is neither O nor one of"),
        (b"a\tO\n\nb\xff\tO\n\nc\tO\n", 3, "is not UTF-8"),
    ],
)
def test_column_faults_are_located_and_cost_one_sentence(
    tmp_path: Path, text: str | bytes, line: int, message: str
) -> None:
    sentences, problems = read(read_columns, put(tmp_path, text))
    assert [sentence.tokens for sentence in sentences] == [("a",), ("c",)]
    assert len(problems) == 1
    assert problems[0][0] == line
    assert message in problems[0][1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:O b:B-x\n", "lacks ' <=>' after its token:tag pairs"),
        ("a:O bB-x <=> <NULL>\n", "'bB-x' is no pair"),
        ("a:O b: <=> <NULL>\n", "'b:' is no pair"),
        ("a:B-x b:y c:B-x <=> <NULL>\n", "the tag 'y' is neither O"),
        (" <=> <NULL>\n", "'' is no pair"),
    ],
)
def test_token_line_faults_are_located_and_cost_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    sentences, problems = read(read_token_lines, put(tmp_path, f"a:O <=> <NULL>\n{text}c:O <=> <NULL>\n"))
    assert [sentence.tokens for sentence in sentences] == [("a",), ("c",)]
    assert [line for line, _ in problems] == [2]
    assert message in problems[0][1]


@pytest.mark.parametrize("reader", [read_columns, read_token_lines])
def test_empty_and_truncated_files_are_faults_of_the_file(tmp_path: Path, reader: Reader) -> None:
    assert read(reader, put(tmp_path, "\n \n"))[1] == [(None, "has no sentences")]
    assert read(reader, put(tmp_path, "a\tO".encode("utf-16")))[1][0] == (1, "is UTF-16; save it as UTF-8")
    problems: list[Problem] = []
    reader(put(tmp_path, gzip.compress(b"a\tO\n\n" * 40)[:-9]), problems)
    assert any(problem.ends_file and "gzip" in problem.message for problem in problems)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_told_as_problems(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = put(tmp_path_factory.mktemp("any"), data)
    for reader in (read_columns, read_token_lines):
        sentences, problems = read(reader, file)
        assert bool(sentences) or bool(problems)


TOKENS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["O", "x", "y"])), min_size=1, max_size=6)


@settings(deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=4))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[tuple[str, str]]]
) -> None:
    made = [
        ([token for token, _ in row], bio_tags([t for t, _ in row], [Entity(tag, t) for t, tag in row if tag != "O"]))
        for row in rows
    ]
    folder = tmp_path_factory.mktemp("any")
    write_columns(folder / "columns", made)
    write_token_lines(folder / "lines", made)
    columns, lines = read(read_columns, folder / "columns"), read(read_token_lines, folder / "lines")
    assert not columns[1] and not lines[1]
    assert [s.tokens for s in columns[0]] == [tuple(tokens) for tokens, _ in made] == [s.tokens for s in lines[0]]
    assert [s.entities for s in columns[0]] == [s.entities for s in lines[0]]
    assert [[e.type for e in s.entities] for s in lines[0]] == [[tag for _, tag in row if tag != "O"] for row in rows]


def test_words_missing_from_the_sentence_have_no_tags() -> None:
    assert bio_tags(["Moor", "saw", "Moor"], [Entity("x", "Moor"), Entity("y", "Moor")]) == ["B-x", "O", "B-y"]
    with pytest.raises(ValueError, match="'Lamp' does not follow"):
        bio_tags(["Moor"], [Entity("x", "Lamp")])


@pytest.mark.parametrize("text", ["Moor\tB-person\n\nsang\tO\nin\tO", "Moor B-person\n\nsang O\nin O"])
def test_a_last_line_without_an_ending_is_told(tmp_path: Path, text: str) -> None:
    sentences, problems = read(read_columns, put(tmp_path, text))
    assert [(line, message[:32]) for line, message in problems] == [(4, "the file ends within this line, ")]
    assert [sentence.tokens for sentence in sentences] == [("Moor",)]
    assert read(read_columns, put(tmp_path, text + "\n"))[1] == []


@pytest.mark.parametrize("before", ["B-person", "I-person"])
def test_an_entity_continued_as_another_type_is_reported(tmp_path: Path, before: str) -> None:
    text = f"Ada\tB-person\nMoor\t{before}\nTown\tI-city\n\nBo\tB-person\n\n"
    sentences, problems = read(read_columns, put(tmp_path, text))
    message = f"the tag 'I-city' stands behind '{before}', but goes on with an entity of another type"
    assert problems == [(3, message)] and [sentence.tokens for sentence in sentences] == [("Bo",)]


def test_in_iob1_neighbors_of_two_types_are_two_entities(tmp_path: Path) -> None:
    text = "Ada\tI-person\nKelham\tI-city\nNorford\tB-city\nMoor\tI-person\n\n"
    (sentence,), problems = read(read_columns, put(tmp_path, text))
    assert problems == [] and [entity.type for entity in sentence.entities] == ["person", "city", "city", "person"]


def test_lost_line_endings_make_no_sentence(tmp_path: Path) -> None:
    for reader, text in ((read_columns, "a O " * 99 + "\n"), (read_token_lines, "a:O <=> b b:O <=> c\n")):
        sentences, problems = read(reader, put(tmp_path, text))
        assert sentences == [] and "line endings are lost" in problems[0][1]


def test_a_last_sentence_without_an_empty_line_is_told(tmp_path: Path) -> None:
    with pytest.warns(CmtWarning, match=r"behind its last sentence, which begins at line 3: if the file is cut off"):
        sentences, problems = read(read_columns, put(tmp_path, "a\tO\n\nb\tO\n"))
    assert len(sentences) == 2 and problems == []
