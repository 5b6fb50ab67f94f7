"""What the configuration folders offer: groups, options and the facts in their header comments, read as plain text.

Nothing heavy is imported, so that `cmt list` and shell completion answer at once. A header is the block of
`# key: value` comments before a file's first key; `needs` (methods) and `kind` (streams) decide which pairs can run;
`uses` says what a method takes besides: old_data (examples of past tasks), hidden_states, task_id (where it is told).
A method's `family` is the folder of its module; family, `paper` and `stores` stand nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.data.files.regular_files import refuse_special

KINDS = {"methods": "method", "data": "data", "models": "model", "experiments": "experiment"}  # groups that are listed
SIZES = ("embedded", "small", "large")  # of base models; conf/size says which is which
MATRIX = "matrix"  # of methods and streams
_FACT = re.compile(r"#\s*([a-z_]+):\s*(.*)")
_TOP_LEVEL_KEY = re.compile(r"([A-Za-z]\w*):")
_TAKEN_IN = re.compile(r"\s*- ([\w/]+)@_here_")  # an entry of a defaults list that stands for the file's own keys


@dataclass(frozen=True, slots=True)
class Option:
    """One yaml of a group, e.g. `conf/method/ewc.yaml`; `facts` are its header's `key: value` lines."""

    group: str
    name: str
    path: Path
    facts: dict[str, str]

    def words(self, fact: str) -> frozenset[str]:
        """Return a fact's words: `documents, episodes` and `documents+episodes` read alike."""
        return frozenset(re.findall(r"\w+", self.facts.get(fact, ""))) - {"none", "nothing"}


def conf_dir() -> Path:
    """Return the folder of configuration files: the checkout's own, else the one inside the installed package."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "conf"
    return checkout if (checkout / "run.yaml").is_file() else package / "conf"


def search_dirs(config_dir: Path | None) -> list[Path]:
    """Return where configuration files are looked for, first match first; raise UserError for a missing folder."""
    if config_dir is None:
        return [conf_dir()]
    if not config_dir.is_dir():
        raise UserError(f"--config-dir {config_dir}: there is no such folder. It must hold group folders like method/.")
    for group in conf_dir().iterdir():  # not all below it: that may be a whole project
        refuse_special(config_dir / group.name)
    return [conf_dir(), config_dir.resolve()]


def group_names(dirs: Sequence[Path]) -> list[str]:
    """Return the names of all configuration groups."""
    return sorted({sub.name for folder in dirs for sub in folder.iterdir() if sub.is_dir() and any(sub.glob("*.yaml"))})


def options(group: str, dirs: Sequence[Path]) -> list[Option]:
    """Return the options of a group, sorted by name; the first folder that has a name wins.

    Files in folders whose names begin with an underscore are parts that options take in, not options.
    """
    found: dict[str, Option] = {}
    for folder in dirs:
        for path in sorted((folder / group).glob("**/*.yaml")):
            name = path.relative_to(folder / group).with_suffix("").as_posix()
            if name.startswith("_") or "/_" in name:
                continue
            found.setdefault(name, Option(group, name, path, header_facts(path)))
    return [found[name] for name in sorted(found)]


def find(group: str, name: str, dirs: Sequence[Path]) -> Option:
    """Return one option; raise UserError with the allowed names where there is none."""
    allowed = {option.name: option for option in options(group, dirs)}
    if name not in allowed:
        raise UserError(no_such_option(group, name, list(allowed)))
    return allowed[name]


def no_such_option(group: str, name: str, allowed: Sequence[str]) -> str:
    """Return the sentence that refuses an unknown name; for a stream, it says how to use data of one's own."""
    own_data = " Your own csv, json or parquet files, or a data set of the hub: data=labelled data.path=..."
    return (
        f"{group}={name}: there is no such {group}.{nearest(name, allowed)} Allowed: {', '.join(allowed)}."
        f"{own_data if group == 'data' else ''}"
    )


def header_facts(path: Path) -> dict[str, str]:
    """Read the `# key: value` comments in front of a file's first key, and the first other line as `about`.

    An indented comment continues the fact above it.
    """
    facts: dict[str, str] = {}
    text: list[str] = []
    last = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            break
        match = _FACT.match(line)
        if match:
            last = match[1]
            facts[last] = match[2].strip()
        elif last and line.startswith("#   "):
            facts[last] += f" {line[1:].strip()}"
        elif not line.startswith("# @package"):
            text.append(line.lstrip("# "))
    if text:
        facts.setdefault("about", text[0])
    return facts


def top_level_keys(path: Path) -> list[str]:
    """Return the keys of a yaml's outermost mapping, without those that begin with an underscore.

    Keys of files that it takes in with `- NAME@_here_`, from its folder or this package's of the same name, count too.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    keys = [match[1] for line in lines if (match := _TOP_LEVEL_KEY.match(line)) and match[1] != "defaults"]
    for name in (match[1] for line in lines if (match := _TAKEN_IN.match(line))):
        candidates = (folder / f"{name}.yaml" for folder in (path.parent, conf_dir() / path.parent.name))
        keys += next((top_level_keys(file) for file in candidates if file.is_file()), [])
    return list(dict.fromkeys(keys))


def incompatibility(method: Option, data: Option) -> str | None:
    """Return why a method cannot run on a stream, or None where it can."""
    missing = sorted(method.words("needs") - data.words("kind"))
    if not missing or "kind" not in data.facts:
        return None
    return f"{method.name} needs {' and '.join(missing)}, which {data.name} ({data.facts['kind']}) does not have"


def fitting_kinds(method: Option, dirs: Sequence[Path]) -> list[str]:
    """Return the kinds of stream that a method can run on: "documents", "labels", the first word of a stream's kind."""
    streams = [stream for stream in options("data", dirs) if "kind" in stream.facts]
    return sorted({s.facts["kind"].split("+")[0] for s in streams if incompatibility(method, s) is None})
