"""Put what the README's first command prints at 80 columns into docs/first_run.md, between two marks.

    python docs/first_run.py              make the run in a new folder, about 5 minutes on two CPU cores
    python docs/first_run.py RUN_FOLDER   print what `cmt show` says of a run that is there

The command runs as for a new user: with an empty cache and without an account at Weights & Biases.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

COMMAND = ("run", "method=cmt", "data=streamingqa")
PAGE = Path(__file__).parent / "first_run.md"
BEGIN, END = "<!-- first_run:begin -->", "<!-- first_run:end -->"
COLUMNS = 80


def printed(arguments: tuple[str, ...], folder: Path) -> str:
    """Return what `cmt` prints in `folder`, both streams in the order of time; raise CalledProcessError on failure."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    settings = {"COLUMNS": str(COLUMNS), "NETRC": str(folder / "no-netrc"), "CMT_CACHE": str(folder / "cache")}
    path = os.pathsep.join([str(PAGE.parents[1]), *filter(None, [own.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "cmt_cli", *arguments],
        cwd=folder,
        env={**own, **settings, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.splitlines())


def with_block(page: str, block: str) -> str:
    """Return a page with the block between its marks; raise ValueError for a page without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"The page has no '{BEGIN}' ... '{END}' to put the text between.")
    return f"{before}{BEGIN}\n```console\n{block}\n```\n{END}{after}"


def main() -> None:
    """Run, or show a run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="the folder of a finished run")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    arguments: tuple[str, ...] = COMMAND
    if given.run is not None:
        arguments = ("show", given.run.name)
        text = printed(arguments, given.run.resolve().parents[1])
    else:
        with tempfile.TemporaryDirectory() as new:
            text = printed(arguments, Path(new))
    block = f"$ cmt {' '.join(arguments)}\n{text}"
    given.page.write_text(with_block(given.page.read_text(encoding="utf-8"), block), encoding="utf-8")


if __name__ == "__main__":
    main()
