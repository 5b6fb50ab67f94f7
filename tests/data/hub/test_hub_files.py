"""Files of the hub: pinned or noted commits, whole or nothing, and one message for each way in which it can fail."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from datasets import ClassLabel, Value
from huggingface_hub import constants

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.fetched import fetched_into
from cmt_cli.data.files.reading import sha256_of
from cmt_cli.data.hub.hub_files import MAIN, HubFiles, HubSource, Tables
from cmt_cli.data.hub.shapes import Labels
from tests.command_line import cmt
from tests.data.hub.hub_server import Hub, as_bare_parquet, as_lines, as_parquet, commit_of

DATASET = "org/rows"
FEATURES = {"text": Value("string"), "label": ClassLabel(names=["no", "yes"])}
FILE = "data/all-00000-of-00001.parquet"
ONE, TWO = commit_of(1), commit_of(2)


def write(folder: Path, tables: Tables) -> None:
    texts = [f"{row['label']} {row['text']}\n" for row in tables.rows("all")]
    (folder / "rows.txt").write_text("".join(texts), encoding="utf-8")
    (folder / "number.txt").write_text(str(len(texts)), encoding="utf-8")


def files_of(revision: str = MAIN, table: str = "data/all-*.parquet") -> HubFiles:
    source = HubSource(
        dataset=DATASET,
        revision=revision,
        tables={"all": table},
        columns={"text": str, "label": Labels(2)},
        files=("rows.txt", "number.txt"),
        write=write,
    )
    return HubFiles((source,))


def table(*texts: str) -> dict[str, bytes]:
    rows = [{"text": text, "label": number % 2} for number, text in enumerate(texts)]
    return {FILE: as_parquet(rows, FEATURES), "README.md": b"# Rows"}


def fetch(path: Path, files: HubFiles | None = None, revisions: Mapping[str, str] | None = None) -> bool:
    return (files or files_of()).fetch(path, lambda what, done, total: None, revisions or {})


def refusal(path: Path, files: HubFiles | None = None, revisions: Mapping[str, str] | None = None) -> str:
    """Return the message of a fetch that fails, having left nothing at the path or beside it."""
    before = sorted(path.parent.rglob("*")) if path.parent.exists() else []
    with pytest.raises(UserError) as raised:
        fetch(path, files, revisions)
    assert (sorted(path.parent.rglob("*")) if path.parent.exists() else []) in (before, [])
    return str(raised.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "rows"


def test_the_first_use_notes_commit_and_files(hub: Hub, path: Path) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    assert fetch(path)
    assert (path / "rows.txt").read_text() == "no a\nyes b\n"
    noted = fetched_into(path)
    assert noted.datasets == {DATASET: ONE}
    assert noted.files == {name: sha256_of(path / name) for name in ("rows.txt", "number.txt")}
    assert not fetch(path)  # all is there
    assert [entry.name for entry in path.parent.iterdir()] == ["rows"]


def test_a_pinned_commit_stays_when_the_branch_moves(hub: Hub, path: Path) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    hub.put(DATASET, TWO, table("c", "d"))
    assert fetch(path, files_of(ONE))
    assert (path / "rows.txt").read_text() == "no a\nyes b\n"


def test_a_named_commit_repeats_an_earlier_preparation(hub: Hub, path: Path) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    hub.put(DATASET, TWO, table("c", "d"))
    assert fetch(path, revisions={"": ONE})
    assert fetch(path.with_name("again"), revisions={DATASET: ONE})
    assert fetched_into(path) == fetched_into(path.with_name("again"))
    message = refusal(path, revisions={"": TWO})
    assert f"are of {DATASET} at {ONE}, not {TWO}. Move the folder away" in message
    assert not fetch(path, revisions={"": ONE})


def test_missing_files_come_from_the_noted_commit(hub: Hub, path: Path) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    fetch(path)
    hub.put(DATASET, TWO, table("c", "d", "e", "f"))
    (path / "number.txt").unlink()
    assert fetch(path)
    assert (path / "number.txt").read_text() == "2"


def test_other_files_are_the_users_and_stay(hub: Hub, path: Path) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    path.mkdir(parents=True)
    (path / "rows.txt").write_text("my own\n")
    assert not fetch(path) and hub.asked == []
    assert "are of no known commit of org/rows, not" in refusal(path, revisions={"": ONE})


def test_a_file_that_the_user_changed_is_not_replaced(hub: Hub, path: Path) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    fetch(path)
    (path / "rows.txt").write_text("my own\n")
    (path / "number.txt").unlink()
    assert "rows.txt is there, but is not what the hub has" in refusal(path)
    assert (path / "rows.txt").read_text() == "my own\n" and not (path / "number.txt").exists()


def test_a_folder_without_files_is_filled(hub: Hub, path: Path) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    path.mkdir(parents=True)
    (path / ".hidden").touch()
    assert fetch(path) and fetched_into(path).datasets == {DATASET: ONE}


def test_moves_that_were_cut_off_are_finished(hub: Hub, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(source: Path, target: Path) -> None:
        if Path(target).name == "rows.txt":
            raise KeyboardInterrupt
        replace(source, target)

    hub.put(DATASET, ONE, table("a", "b"))
    path.mkdir(parents=True)
    (path / ".hidden").touch()
    replace = os.replace
    monkeypatch.setattr(os, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        fetch(path)
    monkeypatch.setattr(os, "replace", replace)
    hub.put(DATASET, TWO, table("c", "d"))
    assert (path / "number.txt").exists() and fetch(path)
    assert (path / "rows.txt").read_text() == "no a\nyes b\n"


@pytest.mark.parametrize(
    ("revisions", "message"),
    [
        ({"": "main"}, "--revision main is no commit"),
        ({"org/row": ONE}, r"what is read is org/rows. Did you mean 'org/rows'\?"),
    ],
)
def test_a_revision_must_be_a_commit_of_a_source(path: Path, revisions: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fetch(path, revisions=revisions)
    two = HubFiles((*files_of().sources, *files_of().sources))
    with pytest.raises(UserError, match="does not say of which data set"):
        fetch(path, two, {"": ONE})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"sentence": "a", "label": "no"}], "row 1: the column 'text' is missing; there are 'sentence', 'label'"),
        ([{"text": 5, "label": "no"}], "row 1: 'text' must be a text, not a number"),
        ([{"text": "a", "label": 1}], "row 1: 'label' must be a label with a name, not a number"),
        ([{"text": "a", "label": "no"}], "the column 'label' holds 1 label, not 2"),
    ],
)
def test_other_columns_and_labels_are_refused(hub: Hub, path: Path, rows: list[dict[str, Any]], message: str) -> None:
    hub.put(DATASET, ONE, {FILE: as_bare_parquet(rows)})
    told = refusal(path)
    assert told.startswith(f"{DATASET} at {ONE} is not laid out as this version expects") and message in told
    assert "Nothing was written. An earlier commit can be named with --revision" in told


def test_a_data_set_that_is_a_program_is_refused(hub: Hub, path: Path) -> None:
    hub.put(DATASET, ONE, {"rows.py": b"raise SystemExit", "README.md": b""})
    assert "it is a program that gets the data from elsewhere, and no program of a data set is run" in refusal(path)


def test_missing_shards_and_other_formats_are_refused(hub: Hub, path: Path) -> None:
    content = table("a", "b")[FILE]
    hub.put(DATASET, ONE, {"data/all-00000-of-00002.parquet": content})
    assert "it has no file data/all-*.parquet, or not all of its parts" in refusal(path)
    hub.put(DATASET, TWO, {FILE: b"PAR1 and no more"})
    assert f"{FILE} is not a parquet file that can be read" in refusal(path)


def test_json_lines_are_read_as_well(hub: Hub, path: Path) -> None:
    hub.put(DATASET, ONE, {"all.jsonl": as_lines([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])})
    assert fetch(path, files_of(table="all.jsonl"))
    assert (path / "rows.txt").read_text() == "x a\ny b\n"


def test_a_cut_download_goes_on_where_it_was_cut(hub: Hub, path: Path) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    hub.cuts[FILE] = [100]
    assert fetch(path) and (path / "rows.txt").read_text() == "no a\nyes b\n"
    assert sum("GET /cdn" in asked for asked in hub.asked) == 2


def test_a_changed_file_is_asked_for_again_and_refused(hub: Hub, path: Path) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    hub.changed.add(FILE)
    assert "is not what the hub lists: its size or hash differs" in refusal(path)
    assert sum("GET /cdn" in asked for asked in hub.asked) == 2
    hub.changed.clear()
    assert fetch(path)  # the damaged file is in the library's cache, and is not taken


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "GatedRepo", f"{DATASET} is gated: accept its terms at .*/datasets/{DATASET} .*`hf auth login`"),
        (401, "RepoNotFound", f"The hub has no data set {DATASET}, or does not show it without a login"),
        (404, "RepoNotFound", f"The hub has no data set {DATASET}"),
        (403, "", r"does not give org/rows \(main\) to this account \(status 403\). Log in"),
        (404, "RevisionNotFound", f"{DATASET} has no revision main"),
        (429, "", "too many requests .status 429.*Repeat the command in some minutes"),
        (500, "", r"The hub has a fault \(status 500\)"),
        (200, "", "What answered for org/rows .* is no hub. Check HF_ENDPOINT, and proxies"),
    ],
)
def test_answers_of_the_hub_are_told(hub: Hub, path: Path, status: int, code: str, message: str) -> None:
    hub.statuses["/api/datasets"] = (status, code)
    hub.put(DATASET, ONE, table("a", "b"))
    with pytest.raises(UserError, match=message):
        fetch(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "GatedRepo", f"{DATASET} is gated"),
        (404, "EntryNotFound", "is listed by the hub but is not there"),
        (401, "", "has no data set|does not give"),
    ],
)
def test_a_file_that_is_refused_leaves_nothing(hub: Hub, path: Path, status: int, code: str, message: str) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    hub.statuses["/resolve/"] = (status, code)
    with pytest.raises(UserError, match=message):
        fetch(path)
    assert list(path.parent.iterdir()) == []


def test_a_renamed_data_set_is_followed(hub: Hub, path: Path) -> None:
    hub.put("org/new", ONE, table("a", "b"))
    hub.renamed[DATASET] = "org/new"
    assert fetch(path)


def test_a_known_commit_needs_no_network(hub: Hub, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    fetch(path, files_of(ONE))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(path.with_name("again"), files_of(ONE))
    assert fetched_into(path.with_name("again")) == fetched_into(path)
    assert f"{DATASET} ({MAIN}) is not in the hub's cache, and HF_HUB_OFFLINE is set" in refusal(
        path.with_name("third")
    )


def test_no_network_says_what_to_do(hub: Hub, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    message = refusal(path)
    assert message.startswith(f"The hub (http://127.0.0.1:9) cannot be reached for {DATASET} ({MAIN})")
    assert "repeat the command later with a connection, or prepare the folder on a machine" in message


def test_a_full_disk_is_told_before_the_download(hub: Hub, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put(DATASET, ONE, table("a", "b"))
    usage = shutil.disk_usage(path.parent.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=10))
    assert "Make room there, or set HF_HOME to a folder on another disk" in refusal(path)
    assert not any("/cdn/" in asked for asked in hub.asked)


def test_a_disk_that_fills_up_is_told(hub: Hub, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **others: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    hub.put(DATASET, ONE, table("a", "b"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    assert f"There is no room left for {DATASET} at {ONE[:12]} in the hub's cache" in refusal(path)


def multi30k(hub: Hub, commit: str) -> None:
    files = {}
    for name in ("train", "val", "test"):
        files[f"{name}.jsonl"] = as_lines([{"en": f"A {name} {n}.", "de": f"Ein {name} {n}."} for n in range(4)])
    hub.put("bentrevett/multi30k", commit, files)


def test_a_kill_leaves_nothing_that_is_read(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    multi30k(hub, ONE)
    hub.stalls.add("val.jsonl")
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "CMT_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-m", "cmt_cli", "data", "prepare", "multi30k"]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any("GET /cdn" in asked and "val.jsonl" in asked for asked in hub.asked):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "data" / "multi30k").exists()
    hub.stalls.clear()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert f"bentrevett/multi30k of the hub at {ONE}" in done.stdout
    assert [entry.name for entry in (tmp_path / "data").iterdir()] == ["multi30k"]


@pytest.mark.usefixtures("empty_folder")
def test_the_commands_revision_reaches_the_hub(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    multi30k(hub, ONE)
    multi30k(hub, TWO)
    assert cmt("data", "prepare", "multi30k", "--revision", ONE) == 0
    assert json.loads(Path("data/multi30k/.fetched.json").read_text())["datasets"] == {"bentrevett/multi30k": ONE}
    assert cmt("data", "prepare", "multi30k", "--revision", TWO) == 2
    assert "Move the folder away" in capsys.readouterr().err
    assert cmt("data", "prepare", "streamingqa", "--revision", ONE) == 2
    assert "the files of streamingqa do not come from the hub" in capsys.readouterr().err


@pytest.mark.usefixtures("empty_folder")
def test_a_failure_of_the_command_exits_with_two(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.statuses["/api/datasets"] = (403, "GatedRepo")
    assert cmt("data", "prepare", "banking77") == 2
    told = capsys.readouterr().err
    assert "PolyAI/banking77 is gated" in told
    assert "Without the hub: Put train.csv and test.csv of github.com/PolyAI-LDN/task-specific-datasets" in told
    assert not Path("data/banking77").exists()
