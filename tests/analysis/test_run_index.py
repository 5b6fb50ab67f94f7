"""Runs are listed through an index that follows the folder and may be deleted or torn at any time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from cmt_cli.analysis.run_index import INDEX_NAME, list_runs
from cmt_cli.commands.runs import chosen_runs, to_json, to_text
from cmt_cli.core.exceptions import UserError
from tests.running.toy import run_toy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for seed in (0, 1, 2):
        run_toy(folder / "deep" / "er" / f"drift-{seed}" if seed else folder / "drift-0", seed=seed)
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "runs")
    return tmp_path / "runs"


def read_anew(runs: Path) -> list[str]:
    """Return the names of the runs whose files the next call reads."""
    found: list[int] = []
    list_runs(runs, lambda _, done, total: found.append(total))
    return ["run"] * len(found)


def test_only_what_changed_is_read_again(runs: Path) -> None:
    assert len(read_anew(runs)) == 3 and len(read_anew(runs)) == 0
    path = runs / "drift-0" / "result.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "method": "renamed"}))
    assert len(read_anew(runs)) == 1
    assert [entry.head["method"] for entry in list_runs(runs)] == ["drift", "drift", "renamed"]
    shutil.rmtree(runs / "deep")
    assert [entry.folder for entry in list_runs(runs)] == [runs / "drift-0"]
    assert (runs / INDEX_NAME).read_text().count("\n") == 2


def test_an_entry_holds_what_the_files_hold(runs: Path) -> None:
    for _ in range(2):  # from the files, then from the index
        entry = list_runs(runs)[-1]
        record = json.loads((runs / "drift-0" / "result.json").read_text())
        assert entry.folder == runs / "drift-0" and entry.stamp[1] == (runs / "drift-0" / "result.json").stat().st_size
        assert entry.detail["metrics"]["f1/aa"] == record["metrics"]["f1/aa"]
        assert entry.value("method.strength") == 1.0 and entry.value("tokens") == 2400


def test_values_agree_between_text_lookup_and_parsed_entry(runs: Path) -> None:
    path = runs / "drift-0" / "config.yaml"
    odd = {
        "method": {"_target_": 'toy", "cost": {"tokens": 7}, "', "ü": "ä\t\n", "metrics": 3},
        "data": {"order": [1, "b"]},
    }
    path.write_text(yaml.safe_dump(odd))
    looked_up, parsed = list_runs(runs)[-1], list_runs(runs)[-1]
    keys = [*parsed.known_keys(), "cost", "metrics", "inner", "data.x", "nothing", "no.thing"]
    assert len(keys) > 40 and parsed.value("method.metrics") == 3 and parsed.value("tokens") == 2400
    assert [looked_up.value(key) for key in keys] == [parsed.value(key) for key in keys]


@pytest.mark.parametrize("damage", ["torn", "other version", "other value", "no text", "gone"])
def test_a_damaged_index_is_made_again(runs: Path, damage: str) -> None:
    expected = to_json(list_runs(runs))
    index = runs / INDEX_NAME
    whole = index.read_bytes()
    if damage == "torn":
        index.write_bytes(whole[: len(whole) // 2])
    elif damage == "other version":
        index.write_bytes(whole.replace(b"index 3", b"index 0"))
    elif damage == "other value":
        assert b'"seed":0' in whole
        index.write_bytes(whole.replace(b'"seed":0', b'"seed":7'))
    elif damage == "no text":
        index.write_bytes(b"\xff\xfe\x00")
    else:
        index.unlink()
    assert to_json(list_runs(runs)) == expected
    assert index.read_bytes() == whole


def test_several_writers_leave_a_whole_index(runs: Path) -> None:
    threads = [threading.Thread(target=list_runs, args=(runs,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_anew(runs) == []
    assert [path.name for path in runs.glob(f"{INDEX_NAME}*")] == [INDEX_NAME]


def test_a_read_only_folder_is_still_listed(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> tuple[int, str]:
        raise PermissionError("read-only file system")

    monkeypatch.setattr("cmt_cli.analysis.run_index.tempfile.mkstemp", refuse)
    assert len(list_runs(runs)) == 3 and not (runs / INDEX_NAME).exists()


def test_unreadable_records_warn_and_lost_configs_repeat_nothing(runs: Path) -> None:
    (runs / "broken").mkdir()
    (runs / "broken" / "result.json").write_text("{")
    (runs / "drift-0" / "config.yaml").unlink()
    with pytest.warns(UserWarning, match="broken"):
        entries = list_runs(runs)
    assert [entry.detail["experiment"][:8] for entry in entries][-1] == "unknown:"
    assert len({entry.detail["experiment"] for entry in entries}) == 2


def test_invalid_configs_and_unreadable_folders_are_left_out(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (runs / "drift-0" / "config.yaml").write_text("a: [1")
    with pytest.warns(UserWarning, match=r"config\.yaml' cannot be read"):
        assert len(list_runs(runs)) == 2
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name == "deep":
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr("cmt_cli.analysis.run_index.os.scandir", refusing)
    with pytest.warns(UserWarning):
        assert list_runs(runs) == []


def test_listing_imports_nothing_heavy(runs: Path) -> None:
    program = (
        "import sys; from cmt_cli.commands.app import main\n"
        f"try: main(['runs', {str(runs)!r}])\n"
        "finally: print(sorted({'torch', 'transformers', 'numpy', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]" and "3 runs" in done.stdout


@pytest.mark.parametrize(
    ("where", "seeds"),
    [
        ("method=drift", [0, 1, 2]),
        ("method=dri*, seed!=1", [0, 2]),
        ("seed<2", [0, 1]),
        ("seed>=1, seed<=1", [1]),
        ("seed=0|2", [0, 2]),
        ("seed=1.0", [1]),
        ("method.strength=1", [0, 1, 2]),
        ("method=*x*", []),
        ("method='drift', source=\"generated\"", [0, 1, 2]),
        ("tokens>2399, status=complete", [0, 1, 2]),
        ("folder=*-2", [2]),
        ("fgt=null", []),
    ],
)
def test_runs_are_chosen_by_names_metrics_cost_and_config(runs: Path, where: str, seeds: list[int]) -> None:
    assert sorted(entry.head["seed"] for entry in chosen_runs(runs, where=[where])) == seeds


def test_several_conditions_all_hold_and_mistakes_are_told(runs: Path) -> None:
    assert [e.head["seed"] for e in chosen_runs(runs, where=["seed>0", "seed<2"])] == [1]
    with pytest.raises(UserError, match=r"Did you mean 'method\.strength'"):
        chosen_runs(runs, where=["method.strenght=1"])
    for wrong in ("seed", "seed==", "=3", "a b=3", "seed=1 seed=2,,", "seed='1"):
        with pytest.raises(UserError, match="cannot be read from"):
            chosen_runs(runs, where=[wrong, "nothing=1"])
    with pytest.raises(UserError, match="needs a number, and 'many' is none"):
        chosen_runs(runs, where=["seed<many"])


def test_the_list_is_sorted_by_any_key(runs: Path) -> None:
    for seed, when in ((0, 300), (1, 100), (2, 200)):
        folder = runs / ("drift-0" if seed == 0 else f"deep/er/drift-{seed}")
        os.utime(folder / "result.json", (when, when))
    assert [e.head["seed"] for e in chosen_runs(runs)] == [0, 2, 1]
    assert [e.head["seed"] for e in chosen_runs(runs, sort="-seed")] == [2, 1, 0]
    by_aa = [e.head["aa"] for e in chosen_runs(runs, sort="aa")]
    assert by_aa == sorted(by_aa)
    with pytest.raises(UserError, match="'ab'"):
        chosen_runs(runs, sort="ab")
    with pytest.raises(UserError, match="There is no folder"):
        chosen_runs(runs / "nowhere")


def test_the_list_as_text_and_as_json(runs: Path) -> None:
    text = to_text(chosen_runs(runs, sort="seed"), runs, ["method.strength"]).splitlines()
    assert text[0].split()[:6] == ["method", "data", "model", "seed", "status", "method.strength"]
    assert text[1].split()[:4] == ["drift", "toy", "(generated)", "toy"] and text[-1] == "3 runs"
    narrow = to_text(chosen_runs(runs, sort="seed"), runs, width=80).splitlines()
    assert narrow[0].split() == ["seed", "status", "aa", "fgt", "folder"]
    assert narrow[1].endswith(text[1].split()[-1]) and len(narrow[1]) < 80
    found = json.loads(to_json(chosen_runs(runs, sort="seed")))
    assert [run["seed"] for run in found] == [0, 1, 2]
    assert found[0]["config"]["method.strength"] == 1.0 and found[0]["cost"]["tokens"] == 2400
