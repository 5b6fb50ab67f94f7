"""Does a refactor keep every number, bit for bit? Run the smoke matrix on two commits and compare what the runs leave.

    python experiments/same_scores.py record --commit HEAD~1 -o before.json    # a worktree of its own, then removed
    python experiments/same_scores.py record --checkout . -o after.json --translate data.hygiene=data.split_policy
    python experiments/same_scores.py compare before.json after.json           # exit code 0: all equal, 1: not

The matrix is every method on a stream that it fits, and `finetune` on every stream's stand-in, on one thread of a CPU.
`record` keeps each run as it ends; called again it makes those that are missing or failed, and refuses a file of other
code; meanwhile a checkout must not be edited. `--translate` tells a key's later name. Each run is a fork of a process
that has imported the libraries and nothing of cmt; each `record` has its own cache.

The answer is the last line of `compare`; above it is a line for what differs first in each part of a run: `status`,
`settings` (an override for which one commit's yaml has no key: see `--translate`), `scores` (text of scores.csv),
`training` (losses and gradient norms of events.jsonl, without times and names of phases) and `files` (SHA-256 of
predictions, of the last state, which is the trained weights, and of the memory). Nothing is left out of predictions,
they hold no times. A run that fails in both shows nothing, so it counts neither as equal nor as different.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

FIXED = "model=tiny model.device=cpu trainer=smoke logger=none".split()
SMALL = (  # by the keys of commit a4cb793; each is set where the stream's yaml has it
    "data.source=generated data.num_tasks=3 data.sizes.num_train=8 data.sizes.num_validation=2 data.limits.max_train=8 "
    "data.limits.max_validation=2 data.limits.max_test=3 data.generated.num_train_documents=12 "
    "data.generated.num_validation_documents=3 data.generated.num_test_documents=9"
).split()
IMPORTED = ("torch", "transformers.models.llama.modeling_llama", "peft", "hydra", "typer", "rich.table")
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
ENVIRONMENT |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0", "PYTHONSAFEPATH": "1"}
PARTS = ("status", "settings", "scores", "training", "files")
FAILED = ["failed"]
SECONDS_PER_RUN = 600


def words(path: Path, fact: str) -> set[str]:
    """Return the words of a fact in the comments at a yaml's head."""
    found = re.search(rf"^# {fact}: (.*)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return set(re.findall(r"\w+", found[1])) - {"nothing"} if found else set()


def matrix(conf: Path) -> dict[str, tuple[str, str]]:
    """Return method and stream of each run by its name."""
    pairs = [("finetune", path.stem) for path in sorted((conf / "data").glob("*.yaml"))]
    for path in sorted((conf / "method").glob("*.yaml")):
        needs = words(path, "needs")
        data = "streamingqa" if "documents" in needs else "world_classification" if needs else "world_skills"
        if not needs <= words(conf / "data" / f"{data}.yaml", "kind"):
            raise SystemExit(f"{path} needs {needs}, which data={data} does not have.")
        pairs.append((path.stem, data))
    return {f"{method}-{data}": (method, data) for method, data in pairs}


def translated(key: str, renamed: Mapping[str, str]) -> str:
    """Return a key's later name; `renamed` may name a node above it."""
    old = max((name for name in renamed if f"{key}.".startswith(f"{name}.")), key=len, default="")
    return renamed[old] + key[len(old) :] if old else key


def has(node: Any, names: Sequence[str]) -> bool:
    """Return whether a mapping has a key in a key."""
    return not names or (isinstance(node, Mapping) and names[0] in node and has(node[names[0]], names[1:]))


def content_of(folder: Path, name: str) -> dict[str, Any]:
    """Return a stream's yaml with the files that its defaults list takes in, in Hydra's order; values may be open."""
    own = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    taken = [str(entry).partition("@")[0] for entry in own.pop("defaults", []) if entry != "_self_"]
    shared = [content_of((folder / entry).parent, Path(entry).name) for entry in taken]
    merged: Any = OmegaConf.to_container(OmegaConf.merge(*shared, own), resolve=False)
    return dict(merged)


def digest(paths: Iterable[Path]) -> str:
    """Return the beginning of the SHA-256 of files' bytes, one behind the other."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths if path.is_file())).hexdigest()[:16]


def call(place: Path, checkout: Path, overrides: Sequence[str]) -> None:
    """Be `cmt run` in a fresh folder."""
    os.chdir(place)
    for stream in (1, 2):
        os.dup2(os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.pycache_prefix = str(place.parent / "bytecode")
    os.environ |= {"HOME": str(place.parent), "CMT_CACHE": str(place.parent / "cache")}
    others = [path for path in sys.path if not any(Path(path).glob("cmt_cli/**/*.py"))]
    sys.path[:], sys.argv = [str(checkout), *others], ["cmt", "run", *overrides]
    if Path(import_module("cmt_cli").__path__[0]) != checkout / "cmt_cli":
        raise ImportError(f"cmt_cli is not imported from {checkout}.")
    if (checkout / "cmt_cli" / "__main__.py").is_file():
        runpy.run_module("cmt_cli", run_name="__main__")
    else:
        import_module("cmt_cli.cli").main()


def outcome(place: Path, checkout: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Make a run in a process of its own; return what it left, without times and paths."""
    place.mkdir()
    process = multiprocessing.get_context("fork").Process(target=call, args=(place, checkout, overrides))
    process.start()
    process.join(SECONDS_PER_RUN)
    process.kill()
    process.join()
    folder = next((path.parent for path in place.glob("runs/*/scores.csv")), None)
    if process.exitcode != 0 or folder is None:
        log = (place / "log").read_text(encoding="utf-8", errors="replace")
        return {"status": FAILED, "error": f"exit code {process.exitcode}\n{log[-1500:]}".strip()}
    last = (folder / "checkpoint" / "state" / "latest").read_text(encoding="utf-8").strip()
    places = [folder / "predictions", folder / "memory", folder / "checkpoint" / "state" / last]
    files = [(path.relative_to(f), path) for f in places for path in sorted(f.rglob("*"))]
    events = map(json.loads, (folder / "events.jsonl").read_text(encoding="utf-8").splitlines())
    return {
        "status": [json.loads((folder / "result.json").read_text(encoding="utf-8"))["status"]],
        "scores": (folder / "scores.csv").read_text(encoding="utf-8").splitlines(),
        "training": [json.dumps([e["step"], e["values"]]) for e in events if e["event"] == "train"],
        "files": [f"{name} {digest([path])}" for name, path in files if path.name != "state.json"],  # it names phases
    }


def record(checkout: Path, scratch: Path, arguments: argparse.Namespace) -> None:
    """Make the runs of a checkout that the file does not hold, and keep each as it ends."""
    output, renamed = arguments.output, dict(pair.split("=", 1) for pair in arguments.translate)
    conf = next(f for f in (checkout / "conf", checkout / "cmt_cli" / "conf") if (f / "run.yaml").is_file())
    code = [path for name in ("cmt_cli", "hydra_plugins", "conf") for path in sorted((checkout / name).rglob("*"))]
    made = {"code": digest(p for p in code if "__pycache__" not in p.parts), "seed": arguments.seed}
    kept = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {**made, "runs": {}}
    if any(kept[key] != value for key, value in made.items()):
        raise SystemExit(f"{output} was made by other code or with another seed.")
    for name, (method, data) in matrix(conf).items():
        if fnmatchcase(name, arguments.only) and kept["runs"].get(name, {}).get("status") != ["complete"]:
            for module in IMPORTED:  # once; a fork has them
                import_module(module)
            content = content_of(conf / "data", data)
            small = [p for p in SMALL if has(content, translated(p.split("=")[0], renamed).split(".")[1:])]
            settings = [f"method={method}", f"data={data}", f"seed={arguments.seed}", *FIXED, *small]
            overrides = [f"{translated(key, renamed)}={value}" for key, value in (p.split("=") for p in settings)]
            kept["runs"][name] = run = {"settings": settings, **outcome(scratch / name, checkout, overrides)}
            output.with_suffix(".part").write_text(json.dumps(kept, indent=1), encoding="utf-8")
            output.with_suffix(".part").replace(output)
            print(name, *run["status"], *run.get("error", "").splitlines()[-1:], flush=True)


def compare(old: Mapping[str, Any], new: Mapping[str, Any], only: str) -> int:
    """Print what differs between two records' runs; return the number of runs that do."""
    names = [name for name in {**old, **new} if fnmatchcase(name, only)]
    num_different = num_failed = 0
    for name in names:
        a, b = (runs.get(name, {"status": ["missing"]}) for runs in (old, new))
        unlike = [(part, x, y) for part in PARTS for x, y in [(a.get(part, []), b.get(part, []))] if x != y]
        lines = [f"{part:9} {next(f'{p} | {q}' for p, q in zip_longest(x, y) if p != q)}" for part, x, y in unlike]
        num_different, num_failed = num_different + bool(lines), num_failed + (not lines and a["status"] == FAILED)
        lines = lines[:1] if a["status"] != b["status"] else lines
        lines += [f"failed    {line}" for run in (a, b) for line in run.get("error", "").splitlines()[-1:]]
        print("".join(f"{name:34} {line}\n" for line in lines), end="")
    print(f"Of {len(names)} runs {num_different} differ, {num_failed} fail in both and the others are equal.")
    return num_different


def main() -> None:
    """Record a commit's runs, or compare two records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording, comparing = commands.add_parser("record"), commands.add_parser("compare")
    source = recording.add_mutually_exclusive_group(required=True)
    source.add_argument("--commit", help="checked out into a worktree of this repository")
    source.add_argument("--checkout", type=Path, help="a folder, taken as it is")
    recording.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    recording.add_argument("--translate", nargs="+", default=[], metavar="OLD=NEW", help="keys renamed since a4cb793")
    recording.add_argument("--seed", type=int, default=0)
    comparing.add_argument("records", type=Path, nargs=2)
    for command in (recording, comparing):
        command.add_argument("--only", default="*", metavar="PATTERN", help="of METHOD-DATA, such as 'cmt-*'")
    arguments = parser.parse_args()
    if arguments.command == "compare":
        runs = [json.loads(path.read_text(encoding="utf-8"))["runs"] for path in arguments.records]
        sys.exit(compare(runs[0], runs[1], arguments.only) > 0)
    if not ENVIRONMENT.items() <= os.environ.items():  # some of it is only read when Python starts
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ENVIRONMENT)
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        scratch, checkout = Path(temporary).resolve(), arguments.checkout
        if arguments.commit:
            git, checkout = ["git", "-C", str(Path(__file__).parent), "worktree"], scratch / "checkout"
            subprocess.check_call([*git, "add", "--quiet", "--detach", str(checkout), arguments.commit])
            stack.callback(subprocess.check_call, [*git, "remove", "--force", str(checkout)])
        record(checkout.resolve(), scratch, arguments)


if __name__ == "__main__":
    main()
