"""The campaign of `make test-robustness`: what was tried, what was survived, and the table of docs/robustness.md.

    python -m tests.robustness.campaign
    python -m tests.robustness.campaign kills --kills 50 --seed 3

What came of each kind the last time lies in tests/robustness/results.json, from which the table is made.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cmt_cli.core.atomic import write_json, write_text
from cmt_cli.running.identity import git_commit
from tests.robustness import hostile
from tests.robustness.forking import REPOSITORY, Fault, Forks
from tests.robustness.interrupted import METHODS, Whole, faulty_runs, killed_runs
from tests.robustness.mutations import mutations, outcome, readers

RESULTS = Path(__file__).with_name("results.json")
PAGE = REPOSITORY / "docs" / "robustness.md"
FAULTS: dict[Fault, str] = {"full disk": "disk full", "denied": "folder closed", "memory": "memory limit"}
KINDS = ("kills", *FAULTS, "folders", "mutations")
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


@dataclass(frozen=True, slots=True)
class Numbers:
    """How often each kind of attempt is made, and the seed of what is drawn."""

    kills: int
    mutations: int
    faults: int
    seed: int


def parts(place: Path, numbers: Numbers, chosen: Sequence[str] = KINDS) -> Iterator[Part]:
    """Make the chosen kinds below `place`; yield each part as it grows, the last state being the whole."""
    with Forks({"CMT_CACHE": str(place / "cache"), "HF_HUB_OFFLINE": "1"}) as forks:
        whole = Whole(forks, place)
        if "folders" in chosen:
            part = Part(f"foreign or damaged run folders, {len(hostile.commands(place))} commands each")
            for folder in hostile.met(forks, place):
                part.add(tuple(f"{folder.name}: {text}" for text in folder.faults))
                yield part
        if "mutations" in chosen:
            yield from _mutated(place / "mutated", number=numbers.mutations, seed=numbers.seed)
        if "kills" in chosen:
            part = Part(f"SIGKILL during a run, {len(METHODS)} methods")
            for run in killed_runs(forks, whole, place, num_kills=numbers.kills, seed=numbers.seed):
                part.add(run.faults, tried=run.num_times)
                yield part
        for fault, name in FAULTS.items():
            if fault in chosen:
                part = Part(name)
                for run in faulty_runs(forks, whole, place, fault=fault, number=numbers.faults, seed=numbers.seed):
                    part.add(run.faults)
                    yield part


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


def table(found: Mapping[str, Part]) -> str:
    """Return the rows of the page's table, in the order of the kinds."""
    lines = ["| what | tried | harmed |", "|---|---:|---:|"]
    return "\n".join([*lines, *(f"| {part.name} | {part.tried:,} | {part.harmed:,} |" for part in found.values())])


def _keep(found: Mapping[str, Part], *, commit: str | None, seed: int) -> None:
    """Write the record, beside what earlier calls found of other kinds, and the page's table."""
    known = json.loads(RESULTS.read_text())["parts"] if RESULTS.exists() else {}
    known |= {kind: {**asdict(part), "commit": commit, "seed": seed} for kind, part in found.items()}
    ordered = {kind: known[kind] for kind in KINDS if kind in known}
    write_json(RESULTS, {"parts": ordered})
    shown = {kind: Part(part["name"], part["tried"], part["harmed"]) for kind, part in ordered.items()}
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    write_text(PAGE, f"{before}{_BEGIN}\n{table(shown)}\n{_END}{after}")


def main() -> None:
    """Make the campaign and write its record and the page's table; leave with 1 where anything was harmed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help=f"{', '.join(KINDS)}; all unless some are named")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    numbers = Numbers(given.kills, given.mutations, given.faults, given.seed)
    harmed = False
    commit = git_commit()  # before the first record is written, which changes the tree
    for kind in given.kinds or KINDS:
        with tempfile.TemporaryDirectory(prefix="cmt-robustness-") as place:
            part = None
            for part in parts(Path(place), numbers, [kind]):
                if sys.stderr.isatty():
                    print(f"\r{part.name}: {part.tried} tried, {part.harmed} harmed ", end="", file=sys.stderr)
        if part is None:
            parser.error(f"{kind} is none of {', '.join(KINDS)}")
        _keep({kind: part}, commit=commit, seed=given.seed)
        print(f"\n{part.name}: {part.tried} tried, {part.harmed} harmed", *part.notes, sep="\n  ", flush=True)
        harmed = harmed or bool(part.harmed)
    sys.exit(harmed)


if __name__ == "__main__":
    main()
