"""The life of a memory bank: append, find, fetch, replace, remove, open again, go back to a position."""

import json
import math
import random
from pathlib import Path

import pytest
import torch

from cmt_cli.core.exceptions import UserError
from cmt_cli.memory.document_bank import DocumentBank
from cmt_cli.memory.records import Records, text_sha256

CPU = torch.device("cpu")


def open_bank(folder: Path | None, dtype: str = "float32", cache_width: int = 0) -> DocumentBank:
    return DocumentBank(
        folder=folder, num_tokens=2, width=8, key_width=4, dtype=dtype, device=CPU, cache_width=cache_width
    )


def records(*texts: str, document_ids: tuple[str, ...] = (), segments: tuple[int, ...] = ()) -> Records:
    """Return one record per text, whose vectors are a function of the text."""
    vectors = [torch.randn(20, generator=torch.Generator().manual_seed(int(text_sha256(t)[:8], 16))) for t in texts]
    stacked = torch.stack(vectors)
    return Records(
        document_ids=document_ids or texts,
        sha256=[text_sha256(text) for text in texts],
        memories=stacked[:, :16].reshape(-1, 2, 8),
        keys=torch.nn.functional.normalize(stacked[:, 16:], dim=1),
        segments=segments,
    )


def contents(bank: DocumentBank) -> list[tuple[int, str, list[float]]]:
    rows = bank.rows()
    memories = bank.memories(rows).flatten(1).tolist()
    return [(int(row), bank.document_id(int(row)), memory) for row, memory in zip(rows, memories, strict=True)]


@pytest.fixture(params=["folder", "ram"])
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> DocumentBank:
    return open_bank(tmp_path / "bank" if request.param == "folder" else None)


def test_a_document_is_found_by_key_with_its_memory(bank: DocumentBank) -> None:
    stored = records("a", "b", "c")
    assert bank.append(stored) == [0, 1, 2]
    scores, rows = bank.search(stored.keys[1:2], 1)
    assert bank.document_id(int(rows[0, 0])) == "b"
    assert scores[0, 0] == pytest.approx(1.0)
    assert torch.equal(bank.memories(rows)[0, 0], stored.memories[1])


def test_missing_results_are_padded_and_their_memories_are_zero(bank: DocumentBank) -> None:
    scores, rows = bank.search(torch.ones(2, 4), 3)
    assert rows.tolist() == [[-1, -1, -1]] * 2
    assert bank.memories(rows).shape == (2, 3, 2, 8)
    bank.append(records("a"))
    scores, rows = bank.search(torch.ones(2, 4), 3)
    assert rows.tolist() == [[0, -1, -1]] * 2
    assert scores[0, 1:].tolist() == [-math.inf, -math.inf]
    assert bank.memories(rows)[:, 1:].abs().sum() == 0


def test_equal_texts_of_one_document_are_stored_once(bank: DocumentBank) -> None:
    assert bank.append(records("a", "b", "a")) == [0, 1, 0]
    assert bank.append(records("b", "c")) == [1, 2]
    assert len(bank) == 3


def test_the_same_text_under_another_id_outlives_the_first(bank: DocumentBank) -> None:
    assert bank.append(records("text", "text", document_ids=("x", "y"))) == [0, 1]
    bank.remove("x")
    assert bank.rows().tolist() == [1]
    assert bank.memories(bank.rows()).abs().sum() > 0


def test_another_text_under_a_stored_id_needs_replace(bank: DocumentBank) -> None:
    bank.append(records("old", "other", document_ids=("x", "y")))
    with pytest.raises(UserError, match="replace"):
        bank.append(records("new", document_ids=("x",)))
    new = records("new", document_ids=("x",))
    assert bank.replace("x", new) == [2]
    assert bank.rows_of("x") == [2]
    assert torch.equal(bank.memories(torch.tensor(2)), new.memories[0])
    assert bank.replace("x", new) == [2]
    assert len(bank) == 2


def test_replacing_a_document_keeps_its_unchanged_segments(bank: DocumentBank) -> None:
    bank.append(records("one", "two", document_ids=("x", "x"), segments=(0, 1)))
    rows = bank.replace("x", records("one", "deux", "trois", document_ids=("x",) * 3, segments=(0, 1, 2)))
    assert rows == [0, 2, 3]
    assert [bank.entry(row).segment for row in bank.rows_of("x")] == [0, 1, 2]
    assert bank.num_documents == 1


def test_a_removed_document_is_unfindable_with_zeroed_bytes(tmp_path: Path) -> None:
    bank = open_bank(tmp_path)
    stored = records("a", "b")
    bank.append(stored)
    bank.sync()
    pattern = stored.memories[0].numpy().tobytes()
    key_pattern = stored.keys[0].numpy().tobytes()

    def on_disk() -> bytes:
        return b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))

    assert pattern in on_disk() and key_pattern in on_disk()
    assert bank.remove("a") == 1
    assert pattern not in on_disk() and key_pattern not in on_disk()
    assert bank.remove("a") == 0
    assert bank.search(stored.keys[:1], 2)[1].tolist() == [[1, -1]]
    assert bank.memories(torch.tensor([0])).abs().sum() == 0
    bank.close()
    assert open_bank(tmp_path).search(stored.keys[:1], 2)[1].tolist() == [[1, -1]]


def test_an_opened_bank_equals_the_one_that_was_closed(tmp_path: Path) -> None:
    bank = open_bank(tmp_path)
    bank.append(records("a", "b", "c"))
    bank.remove("b")
    bank.replace("a", records("a2", document_ids=("a",)))
    bank.close()
    opened = open_bank(tmp_path)
    assert contents(opened) == contents(bank)
    query = records("query").keys
    assert torch.equal(opened.search(query, 4)[0], bank.search(query, 4)[0])
    assert opened.position() == bank.position()


def test_opening_with_other_settings_is_refused(tmp_path: Path) -> None:
    open_bank(tmp_path).close()
    with pytest.raises(UserError, match="dtype=float32, not int8"):
        open_bank(tmp_path, dtype="int8")
    with pytest.raises(UserError, match="bfloat16"):
        open_bank(None, dtype="bfloat")


def test_going_back_to_a_position_drops_later_appends(bank: DocumentBank) -> None:
    bank.append(records("a", "b"))
    position = json.loads(json.dumps(bank.position()))
    before = contents(bank)
    bank.append(records("c", "d"))
    after = contents(bank)
    assert bank.truncate(position) == []
    assert contents(bank) == before
    assert bank.search(records("c").keys, 4)[1].sort().values.tolist() == [[-1, -1, 0, 1]]
    bank.append(records("c", "d"))
    assert contents(bank) == after


def test_removals_outlive_going_back_and_repeated_work_agrees(bank: DocumentBank) -> None:
    bank.append(records("a", "b", "c"))
    bank.remove("c")
    position = bank.position()

    def work() -> None:
        bank.append(records("d"))
        bank.remove("a")
        bank.replace("b", records("b2", document_ids=("b",)))

    work()
    uninterrupted, end = contents(bank), bank.position()
    assert bank.truncate(position) == ["a", "b"]
    assert contents(bank) == []
    work()
    assert contents(bank) == uninterrupted
    assert bank.position() == end


def test_a_position_of_another_bank_is_refused(tmp_path: Path) -> None:
    first, second = open_bank(tmp_path / "1"), open_bank(tmp_path / "2")
    first.append(records("a", "b"))
    second.append(records("a", "c"))
    with pytest.raises(UserError, match="not the one"):
        second.truncate(first.position())
    with pytest.raises(UserError, match="not the one"):
        open_bank(None).truncate(first.position())


def test_clear_starts_anew(bank: DocumentBank) -> None:
    bank.append(records("a", "b"))
    bank.clear()
    assert len(bank) == 0
    assert bank.append(records("b")) == [0]


def test_cached_vectors_come_back_with_their_rows(tmp_path: Path) -> None:
    bank = open_bank(tmp_path, cache_width=3)
    plain = records("a", "b")
    cached = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    with pytest.raises(ValueError, match="cached"):
        bank.append(plain)
    bank.append(Records(**{**vars(plain), "cached": cached}))
    assert torch.equal(
        bank.cached(torch.tensor([[1, -1], [0, 0]])),
        torch.stack([cached[[1, 1]], cached[[0, 0]]]) * torch.tensor([[[1], [0]], [[1], [1]]]),
    )
    with pytest.raises(ValueError, match="cached"):
        open_bank(None).cached(torch.tensor([]))


def test_wrong_shapes_and_numbers_are_refused_and_change_nothing(bank: DocumentBank) -> None:
    good = records("a")
    with pytest.raises(ValueError, match=r"\(1, 1, 8\)"):
        bank.append(Records(**{**vars(good), "memories": good.memories[:, :1]}))
    with pytest.raises(ValueError, match="NaN"):
        bank.append(Records(**{**vars(good), "keys": good.keys * math.nan}))
    with pytest.raises(IndexError, match="no row 7"):
        bank.memories(torch.tensor([7]))
    assert len(bank) == 0


def test_storage_bytes_are_counted_by_kind() -> None:
    bank = open_bank(None, cache_width=0)
    bank.append(records("a", "b"))
    used = bank.storage_bytes()
    assert (used.memory, used.key, used.cached, used.codebook) == (2 * 2 * 8 * 4, 2 * 4 * 4, 0, 0)
    assert used.total == used.memory + used.key + used.text
    half = open_bank(None, dtype="int8")
    half.append(records("a"))
    assert half.storage_bytes().memory == 2 * (8 + 4)


def test_quantized_banks_are_fitted_once_and_keep_their_codebooks(tmp_path: Path) -> None:
    bank = open_bank(tmp_path, dtype="pq")
    stored = records("a", "b", "c")
    with pytest.raises(ValueError, match="fit_quantizer"):
        bank.append(stored)
    assert bank.needs_quantizer
    sample = records(*map(str, range(400)))
    bank.fit_quantizer(sample.memories, sample.keys, bytes_per_token=2, bytes_per_key=2, seed=0)
    bank.append(stored)
    assert bank.storage_bytes().memory == 3 * 2 * 2 and bank.storage_bytes().key == 3 * 2
    assert (bank.memories(bank.rows()) - stored.memories).square().mean() < 0.5 * stored.memories.square().mean()
    position = bank.position()
    bank.close()
    opened = open_bank(tmp_path, dtype="pq")
    assert not opened.needs_quantizer
    assert contents(opened) == contents(bank)
    assert opened.truncate(position) == []
    opened.clear()
    assert opened.needs_quantizer


@pytest.mark.parametrize("seed", range(4))
def test_a_random_life_agrees_with_a_dictionary(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    bank, expected = open_bank(tmp_path), dict[str, list[float]]()
    for step in range(120):
        document_id, text = f"d{draw.randrange(12)}", f"{seed}-{step}"
        new = records(text, document_ids=(document_id,))
        action = draw.choice(["append", "replace", "remove", "reopen", "go back"])
        if action == "append" and document_id not in expected:
            bank.append(new)
        elif action == "replace":
            bank.replace(document_id, new)
        elif action == "remove":
            assert bank.remove(document_id) == (document_id in expected)
            expected.pop(document_id, None)
        elif action == "reopen":
            bank.close()
            bank = open_bank(tmp_path)
        elif action == "go back":
            position = bank.position()
            bank.append(records(text, text + "b", document_ids=(text, text + "b")))
            assert bank.truncate(position) == []
        if action == "replace" or (action == "append" and document_id not in expected):
            expected[document_id] = new.memories.flatten().tolist()
        assert {name: memory for _, name, memory in contents(bank)} == expected
        assert len(bank) == bank.num_documents == len(expected)
        found = bank.search(new.keys, 20)[1][0]
        assert {bank.document_id(int(row)) for row in found if row >= 0} == set(expected)
