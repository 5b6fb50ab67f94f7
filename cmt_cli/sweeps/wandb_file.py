"""Write a W&B sweep file whose agents call `cmt run` with Hydra overrides.

Parameters come in Hydra's own sweep syntax or from a yaml file with W&B's:

    method=a,b    seed=range(3)        values          trainer.task.learning_rate=interval(1e-5,1e-3)   uniform
    data=squad                         value           ...=tag(log,interval(1e-5,1e-3))          log_uniform_values

Settings are chosen on the validation split: the file sets it, and a sweep that scores on test is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException

from cmt_cli.config import check, compose
from cmt_cli.config.errors import explain
from cmt_cli.core.atomic import write_text
from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.data.files.regular_files import read_regular
from cmt_cli.sweeps import yaml_words

SEARCHES = ("grid", "random", "bayes")
GOALS = ("maximize", "minimize")
_SPLIT = "stream_split"
_COMMAND = ["${env}", "cmt", "run", "${args_no_hyphens}"]
_HEADER = """\
# Written by `cmt wandb sweep`. Start it:   wandb sweep --project {project} {name}
# then on any number of machines:          wandb agent ENTITY/{project}/SWEEP_ID
# Each agent calls `cmt run` with one choice of parameters, on the validation split.
"""
Parameters = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Search:
    """How W&B searches: grid, random or bayes (None: chosen by the parameters), what for, and at most how many runs."""

    method: str | None
    metric: str
    goal: str
    max_runs: int | None


def write(given: Sequence[str], path: Path, search: Search, *, project: str, config_dir: Path | None) -> dict[str, Any]:
    """Write the sweep file and return it; raise UserError for what agents could not run or must not choose on."""
    if search.goal not in GOALS:
        raise UserError(f"--goal {search.goal}: allowed are {', '.join(GOALS)}.{nearest(search.goal, GOALS)}")
    parameters: Parameters = {}
    for word in given:
        is_file = "=" not in word and Path(word).suffix in (".yaml", ".yml")
        parameters |= read_parameters(Path(word)) if is_file else parse(word, config_dir)
    if not any("value" not in parameter for parameter in parameters.values()):
        raise UserError("There is nothing to search: give at least one key several values, e.g. method=cmt,mac.")
    _check(parameters, config_dir)
    sweep: dict[str, Any] = {
        "program": "cmt",
        "project": project,
        "method": _method(search.method, parameters),
        "metric": {"name": search.metric, "goal": search.goal},
        "parameters": parameters,
        "command": _COMMAND,
    }
    if search.max_runs is not None:
        sweep["run_cap"] = search.max_runs
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"The sweep cannot be written to '{path}': name a file in a folder that exists.")
    text = yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True)
    write_text(path, _HEADER.format(project=project, name=path) + text)
    return sweep


def parse(line: str, config_dir: Path | None = None) -> Parameters:
    """Return one override in W&B's words; raise UserError where it is none, or adds or removes keys."""
    try:
        (override,) = OverridesParser.create().parse_overrides([line])
    except HydraException as error:
        raise explain(error, [line], check.Request((), config_dir=config_dir).dirs()) from error
    if override.is_delete():
        raise UserError(f"'{line}': a sweep gives keys values; removing one is no parameter.")
    prefix = "+" if override.is_add() else "++" if override.is_force_add() else ""
    return {prefix + override.get_key_element().lstrip("+~"): _parameter(override, config_dir)}


def read_parameters(path: Path) -> Parameters:
    """Return the parameters of a yaml file: a mapping of keys, or a W&B sweep file with `parameters`."""
    try:
        found = yaml_words.load(read_regular(path).decode(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' cannot be read as yaml: {str(error).splitlines()[0]}.") from error
    if isinstance(found, Mapping) and isinstance(found.get("parameters"), Mapping):
        found = found["parameters"]
    if not isinstance(found, Mapping) or not found:
        raise UserError(f"'{path}' holds no parameters: write one key per line, e.g. `method: [cmt, mac]`.")
    return {str(key): _spelled(path, str(key), value) for key, value in found.items()}


def first_overrides(parameters: Parameters) -> list[str]:
    """Return the first choice of every parameter as an agent would give it to `cmt run`."""
    firsts = {}
    for key, parameter in parameters.items():
        named = [parameter[name] for name in ("value", "min", "mu") if name in parameter]
        firsts[key] = named[0] if named else parameter["values"][0]
    return [f"{key}={value}" for key, value in firsts.items()]


def _spelled(path: Path, key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        if not any(name in value for name in ("value", "values", "min", "distribution")):
            allowed = "value, values, or min and max"
            raise UserError(f"'{path}': {key} has none of {allowed}. Nested settings are written with dots: a.b: ...")
        given = dict(value)
        if "value" in given:
            given["value"] = _plain(given["value"])
        if "values" in given:
            given["values"] = [_plain(item) for item in given["values"]]
        return given
    if isinstance(value, list):
        return {"values": [_plain(item) for item in value]}
    return {"value": _plain(value)}


def _parameter(override: Override, config_dir: Path | None) -> dict[str, Any]:
    value = override.value()
    if isinstance(value, IntervalSweep):
        if value.start is None or value.end is None:
            raise UserError(f"'{override.input_line}': an interval has two ends, interval(1e-5,1e-3).")
        kind = "log_uniform_values" if "log" in value.tags else "uniform"
        if isinstance(value.start, int) and isinstance(value.end, int):
            kind = "int_uniform"
        return {"distribution": kind, "min": value.start, "max": value.end}
    if override.is_sweep_override():
        dirs = check.Request((), config_dir=config_dir).dirs()
        return {"values": [yaml_words.number(text) for text in compose.sweep_values(override, dirs)]}
    assert override.input_line is not None
    return {"value": yaml_words.number(override.input_line.partition("=")[2])}


def _plain(value: Any) -> Any:
    """Return a value whose `str`, which agents write, means the same to Hydra: numbers, or text of its grammar."""
    if isinstance(value, list):
        return f"[{','.join(str(_plain(item)) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_plain(item)}' for key, item in value.items())}}}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return _text(value) if isinstance(value, str) else value


def _text(value: str) -> str:
    """Return a text as it is where Hydra reads one value in it, else in quotation marks."""
    try:
        (override,) = OverridesParser.create().parse_overrides([f"key={value}"])
        return compose.quoted(value) if override.is_sweep_override() else value
    except HydraException:
        return compose.quoted(value)


def _method(given: str | None, parameters: Parameters) -> str:
    is_open = [key for key, parameter in parameters.items() if "value" not in parameter and "values" not in parameter]
    if given is None:
        return "bayes" if is_open else "grid"
    if given not in SEARCHES:
        raise UserError(f"--search {given}: allowed are {', '.join(SEARCHES)}.{nearest(given, SEARCHES)}")
    if given == "grid" and is_open:
        raise UserError(f"--search grid needs values for {is_open[0]}, which has an interval. Take random or bayes.")
    return given


def _check(parameters: Parameters, config_dir: Path | None) -> None:
    """Add the validation split, and compose runs with every value, as an agent would."""
    own = [key for key in parameters if key.lstrip("+").rpartition(".")[2] == _SPLIT]
    for key in own:
        chosen = parameters[key].get("values", [parameters[key].get("value")])
        if chosen != ["validation"]:
            raise UserError(
                f"{key}={', '.join(map(str, chosen))}: a sweep chooses settings, and what is chosen on the test split "
                f"is no test result any more. Leave {key} out; the sweep sets the validation split."
            )
    found = {_split_key(check.check(request).config["data"], "data") for request in _requests(parameters, config_dir)}
    if None in found:
        raise UserError(f"A stream of this sweep has no validation split ({_SPLIT}), so nothing may be chosen on it.")
    if not own:
        if len(found) > 1:
            keys = " and ".join(sorted(key for key in found if key is not None))
            raise UserError(f"The streams of this sweep choose their split by {keys}. Write a sweep for each of them.")
        parameters |= {key: {"value": "validation"} for key in found if key is not None}
        check.check(next(_requests(parameters, config_dir)))


def _requests(parameters: Parameters, config_dir: Path | None) -> Iterator[check.Request]:
    """Yield runs in which each value of each parameter occurs: the first of all, then one other value at a time."""
    yield check.Request(tuple(first_overrides(parameters)), config_dir=config_dir)
    for key, parameter in parameters.items():
        for value in parameter.get("values", ())[1:]:
            chosen = first_overrides({**parameters, key: {"value": value}})
            yield check.Request(tuple(chosen), config_dir=config_dir)


def _split_key(settings: Mapping[str, Any], path: str) -> str | None:
    """Return the dotted key that chooses the split that is evaluated."""
    for key, value in settings.items():
        if key == _SPLIT:
            return f"{path}.{key}"
        if isinstance(value, Mapping) and (found := _split_key(value, f"{path}.{key}")):
            return found
    return None
