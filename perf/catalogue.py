"""How long `cmt runs` takes in a folder of many runs: without an index, with one, and after one run has changed.

    python perf/catalogue.py RUN [--runs 10000]

RUN is the folder of a real run, whose record and config are copied with other names and seeds. Whole processes are
timed. Writes perf/results/catalogue.md and catalogue.json. Target: 10,000 runs in 2 s with an index.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reporting import best_seconds, machine, machine_line, note, parser, table, write

METHODS = ("finetune", "replay", "ewc", "l2", "lora", "olora", "cmt", "mac")
CALLS: dict[str, tuple[str, ...]] = {
    "list": (),
    "list, by method and seed": ("--where", "method=cmt|mac, seed<10"),
    "list, by a config key, sorted": ("--where", "trainer.task.batch_size>=1", "--sort=-f1/aa"),
    "JSON of everything": ("--json",),
}


def main() -> None:
    """Make the folder, measure and write the table."""
    options = parser(__doc__)
    options.add_argument("run", type=Path)
    options.add_argument("--runs", type=int, default=10_000)
    given = options.parse_args()
    record: dict[str, Any] = {"machine": machine(1), "num_runs": given.runs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        note(f"copying {given.run.name} {given.runs} times")
        fill(folder, given.run, given.runs)
        note("without an index")
        started = time.perf_counter()
        call(folder, ())
        rows = [{"case": "list, no index (it is made)", "seconds": time.perf_counter() - started}]
        for case, arguments in CALLS.items():
            note(case)
            rows.append({"case": case, "seconds": best_seconds(lambda a=arguments: call(folder, a))})  # type: ignore[misc]
        rows.append({"case": "`cmt compare` of all", "seconds": best_seconds(lambda: call(folder, (), "compare"), 1)})
        rows.append({"case": "list, one run has changed", "seconds": best_seconds(lambda: changed(folder))})
        record |= {"rows": rows, "index_bytes": (folder / ".index").stat().st_size}
    write("catalogue", record, markdown(record), given.results)


def fill(folder: Path, run: Path, num_runs: int) -> None:
    """Write copies of a run's record and config that differ in method, learning rate, seed and hash."""
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    config = (run / "config.yaml").read_text(encoding="utf-8")
    for number in range(num_runs):
        seed, method = divmod(number, len(METHODS))
        names = {"method": METHODS[method], "seed": seed, "config_hash": f"{number:064x}"}
        copy = folder / METHODS[method] / f"{METHODS[method]}-{number:08x}"
        copy.mkdir(parents=True)
        (copy / "result.json").write_text(json.dumps({**result, **names}), encoding="utf-8")
        changed_config = config.replace("\nseed: ", f"\nseed: {seed}  # ", 1)
        changed_config = changed_config.replace(
            "learning_rate: ", f"learning_rate: {1e-5 * (1 + seed // 5):.2e}  # ", 1
        )
        (copy / "config.yaml").write_text(changed_config, encoding="utf-8")


def call(folder: Path, arguments: tuple[str, ...], name: str = "runs") -> None:
    """List the folder, or compare its runs, in a process of its own."""
    command = [sys.executable, "-m", "cmt_cli", name, str(folder), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def changed(folder: Path) -> None:
    """Write one run's record again, then list."""
    path = next((folder / METHODS[0]).glob("*/result.json"))
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    call(folder, ())


def markdown(record: dict[str, Any]) -> str:
    """Return the report."""
    return "\n".join(
        [
            "# A catalogue of runs\n",
            machine_line(record["machine"], "catalogue"),
            f"`cmt runs` over {record['num_runs']:,} run folders, whole processes, file cache warm, best of three "
            f"(without an index: once). The index has {record['index_bytes'] / 2**20:.0f} MiB. Target: 2 s with one.\n",
            table(record["rows"], {"case": ("case", ""), "seconds": ("seconds", ".2f")}),
        ]
    )


if __name__ == "__main__":
    main()
