"""The campaign of `make test-robustness`: what was tried, what was survived, and the table of docs/robustness.md.

    python -m tests.robustness.campaign --kills 200 --mutations 5000 --faults 50

The numbers of the latest one lie in tests/robustness/results.json; `--table` writes the page's table from them alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cmt_cli.core.atomic import write_json, write_text
from cmt_cli.running.identity import git_commit
from tests.robustness import hostile
from tests.robustness.forking import REPOSITORY, Forks
from tests.robustness.interrupted import METHODS, Whole, faulty_runs, killed_runs
from tests.robustness.mutations import mutations, outcome, readers

RESULTS = Path(__file__).with_name("results.json")
PAGE = REPOSITORY / "docs" / "robustness.md"
_BEGIN, _END = "<!-- table: tests/robustness/campaign.py -->", "<!-- end of table -->"


@dataclass(slots=True)
class Part:
    """One kind of attempt: how many, how many did harm, and in which way."""

    name: str
    tried: int = 0
    harmed: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, faults: tuple[str, ...], *, tried: int = 1) -> None:
        """Count attempts on one thing."""
        self.tried += tried
        self.harmed += bool(faults)
        self.notes += faults


def parts(place: Path, *, num_kills: int, num_mutations: int, num_faults: int, seed: int) -> Iterator[Part]:
    """Make the campaign below `place`; yield its parts as they grow, the last state of each being the whole."""
    with Forks({"CMT_CACHE": str(place / "cache"), "HF_HUB_OFFLINE": "1"}) as forks:
        whole = Whole(forks, place)
        part = Part(f"SIGKILL during a run, {len(METHODS)} methods")
        for run in killed_runs(forks, whole, place, num_kills=num_kills, seed=seed):
            part.add(run.faults, tried=run.num_times)
            yield part
        for fault in ("full disk", "denied", "memory"):
            part = Part({"full disk": "disk full", "denied": "folder closed", "memory": "memory limit"}[fault])
            for run in faulty_runs(forks, whole, place, fault=fault, number=num_faults, seed=seed):
                part.add(run.faults)
                yield part
        part = Part(f"foreign or damaged run folders, {len(hostile.commands(place))} commands each")
        for folder in hostile.met(forks, place):
            part.add(tuple(f"{folder.name}: {text}" for text in folder.faults))
            yield part
    yield from _mutated(place / "mutated", number=num_mutations, seed=seed)


def _mutated(place: Path, *, number: int, seed: int) -> Iterator[Part]:
    """Read damaged copies of all readers' files, about as many of each."""
    found = readers()
    part = Part(f"damaged data files, {len(found)} readers")
    for index, reader in enumerate(found):
        own = number // len(found) + (index < number % len(found))
        for name, content in mutations(reader.files, own, seed + index):
            try:
                outcome(reader, place, name, content)
                part.add(())
            except Exception as error:  # whatever a damaged file provokes is what the campaign looks for
                part.add((f"{reader.name}, {name}: {type(error).__name__}: {error}",))
        yield part


def table(found: list[Part]) -> str:
    """Return the rows of the page's table."""
    lines = ["| what | tried | harmed |", "|---|---:|---:|"]
    return "\n".join([*lines, *(f"| {part.name} | {part.tried:,} | {part.harmed:,} |" for part in found)])


def _write_page(found: list[Part]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    write_text(PAGE, f"{before}{_BEGIN}\n{table(found)}\n{_END}{after}")


def main() -> None:
    """Make the campaign and write its record and the page's table; leave with 1 where anything was harmed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="only write the table from the latest record")
    given = parser.parse_args()
    if given.table:
        _write_page([Part(**part) for part in json.loads(RESULTS.read_text())["parts"]])
        return
    found: dict[str, Part] = {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cmt-robustness-") as place:
        numbers = {"num_kills": given.kills, "num_mutations": given.mutations, "num_faults": given.faults}
        for part in parts(Path(place), **numbers, seed=given.seed):
            found[part.name] = part
            print(f"\r{part.name}: {part.tried} tried, {part.harmed} harmed ", end="", file=sys.stderr, flush=True)
    record = {"commit": git_commit(), "seed": given.seed, "seconds": round(time.monotonic() - started)}
    write_json(RESULTS, {**record, "parts": [asdict(part) for part in found.values()]})
    _write_page(list(found.values()))
    for part in found.values():
        print(f"\n{part.name}: {part.tried} tried, {part.harmed} harmed", *part.notes, sep="\n  ")
    sys.exit(any(part.harmed for part in found.values()))


if __name__ == "__main__":
    main()
