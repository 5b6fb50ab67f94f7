"""Gets the files of a stream ready ahead of a run, for `cmt data prepare`."""

from __future__ import annotations

from pathlib import Path

from cmt_cli.data.origin import Layout, Progress
from cmt_cli.data.stand_in import StandIn


def prepare(layout: Layout, *, path: Path, cache: Path, generated: StandIn, progress: Progress) -> Path:
    """Fetch the real files to `path` where the layout can, else write the stand-in below `cache`; return the place.

    The stand-in never goes to `path`, so that generated files do not lie where real ones are looked for. Raises
    UserError where fetching fails.
    """
    if layout.fetch is not None and layout.fetch(path, progress):
        return path
    progress(f"writing the generated {layout.name}", 0, 1)
    folder = generated.write(layout, cache)
    progress(f"writing the generated {layout.name}", 1, 1)
    return folder
