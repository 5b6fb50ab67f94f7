"""The page on data files says of every stream which data set of the hub it comes from, and at which commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.commands import stream_files
from cmt_cli.config import catalog
from cmt_cli.data.hub.hub_files import HubFiles

PAGE = Path(__file__).parents[3] / "docs" / "data_files.md"
STREAMS = [option.name for option in catalog.options("data", [catalog.conf_dir()])]


def documented() -> dict[str, list[list[str]]]:
    """Return the rows of the page's table by stream, each without its stream."""
    rows: dict[str, list[list[str]]] = {}
    stream = ""
    for line in PAGE.read_text(encoding="utf-8").split("| Stream | ")[1].splitlines()[2:]:
        if not line.startswith("|"):
            break
        name, *cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        stream = name or stream
        rows.setdefault(stream, []).append(cells)
    return rows


@pytest.mark.parametrize("name", STREAMS)
def test_the_page_names_the_sources_of_each_stream(name: str) -> None:
    layout = stream_files.layout_of(stream_files.settings_of(name))
    rows = documented().get(name, [])
    if layout is None:
        assert rows == []
        return
    if layout.hub is None:
        assert [commit for _, commit, *_ in rows] == [""] or name == "labelled"
        return
    assert isinstance(layout.hub, HubFiles)
    told = [(dataset.split("`")[0].strip(), commit) for dataset, commit, *_ in rows]
    assert told == [
        (source.dataset, source.revision[:12] if source.is_pinned else "first use") for source in layout.hub.sources
    ]
    assert all(setting in str(rows) for setting in layout.hub.settings)


def test_the_settings_for_what_the_hub_lacks_compose() -> None:
    for name in STREAMS:
        layout = stream_files.layout_of(stream_files.settings_of(name))
        if layout is not None and layout.hub is not None:
            assert stream_files.settings_of(name, layout.hub.settings).name == name
