"""The model card of an exported model, made from the run's record: what it is of, what it learned, how good it was.

A card is published with the model, so that it holds no path of the machine that the run was made on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cmt_cli.core.exceptions import counted
from cmt_cli.core.result import RunResult
from cmt_cli.data.labelled.templates import fields_in
from cmt_cli.models.adapters import weights_of

if TYPE_CHECKING:
    from cmt_cli.core.learner import Learner
    from cmt_cli.models.base_models import BaseModel
    from cmt_cli.running.answering import AdaptedModel

_QUESTION = "Where is Lisbon?"
_DIGITS = 12  # of a hash
_LOCAL = ("/", "~", ".", "\\")  # what paths begin with, and hub ids do not
_SETTINGS = ("method", "trainer", "seed")
_LIBRARIES = {"peft": "AutoPeftModelForCausalLM", "transformers": "AutoModelForCausalLM"}


@dataclass(frozen=True, slots=True)
class Origin:
    """What an exported model is from: a run's record and settings, its form, how many tasks it has learned."""

    result: RunResult
    config: Mapping[str, Any]
    form: str
    num_learned: int
    base: BaseModel | None

    @property
    def base_name(self) -> str:
        """Return the base model's name, of a local folder the last part of its path."""
        name = str(self.result.model.get("weights", self.result.model["name"]))
        return Path(name).name if name.startswith(_LOCAL) else name

    def facts(self) -> dict[str, Any]:
        """Return what `cmt_export.json` holds: which state of which run, beside which base model."""
        result = self.result
        return {
            "form": self.form,
            "num_tasks_learned": self.num_learned,
            "num_tasks": result.data.get("num_tasks"),
            "run": {
                "method": result.method,
                "data": result.data["name"],
                "model": result.model["name"],
                "seed": result.seed,
                "config_hash": result.config_hash,
            },
            "base": {
                "name": self.base_name,
                "revision": result.model.get("revision"),
                "sha256": weights_of(dict(result.model.get("sha256") or {})),
            },
        }


def model_card(origin: Origin, adapted: AdaptedModel) -> str:
    """Return README.md: yaml front matter, and the card in Markdown."""
    library = "peft" if origin.form == "peft" else "transformers"
    front: dict[str, Any] = {"library_name": library, "pipeline_tag": "text-generation"}
    if origin.base is not None and origin.base.revision is not None:
        front["base_model"] = origin.base.name
        front["base_model_relation"] = "adapter" if library == "peft" else "finetune"
    front["tags"] = ["continual-learning", "cmt"]
    parts = [_about(origin), _use(origin, adapted, library), _base(origin), _data(origin)]
    parts += [_settings(origin), _scores(origin), _versions(origin)]
    text = "\n\n".join("\n".join(part) for part in parts)
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n{text}\n"


def _about(origin: Origin) -> Iterator[str]:
    result = origin.result
    yield f"# {_line(origin.base_name)} after {_line(result.data['name'])}, learned by {_line(result.method)}"
    yield ""
    yield (
        f"A language model that learned {counted(origin.num_learned, 'task')} of a stream of "
        f"{result.data.get('num_tasks', 'unknown')}, one after the other, with the method `{_line(result.method)}` of "
        f"cmt (package cmt-cli). The run's status is {_line(result.status)}, its seed {result.seed}, "
        f"the hash of its settings `{result.config_hash[:_DIGITS]}`."
    )


def _use(origin: Origin, adapted: AdaptedModel, library: str) -> Iterator[str]:
    name, learner = _LIBRARIES[library], adapted.learner
    written_as = learner.prompt_format
    yield "## Use"
    yield ""
    if origin.form == "peft" and origin.base is not None and origin.base.revision is None:
        yield "The base model was a local folder: `base_model_name_or_path` in `adapter_config.json` must say where it"
        yield "lies on your machine."
        yield ""
    yield "```python"
    if library == "peft":
        yield from ["import torch"] if learner.prefix_source is not None else []
        yield f"from peft import {name}"
        yield "from transformers import AutoTokenizer"
    else:
        yield f"from transformers import {name}, AutoTokenizer"
    yield ""
    yield 'folder = "."  # of this file'
    from cmt_cli.core.mixed_precision import name_of

    # A merged model's configuration says what its weights are; a base model's may say another type than the run's.
    dtype = f', dtype="{name_of(learner.dtype)}"' if library == "peft" else ""
    yield f"model = {name}.from_pretrained(folder{dtype})"
    yield "tokenizer = AutoTokenizer.from_pretrained(folder)"
    form = _form_of_prompts(origin, adapted)
    names = list(dict.fromkeys(fields_in(form)))
    texts = {name: _QUESTION if name == "question" or len(names) == 1 else "..." for name in names}
    yield f"prompt = {form!r}" + "".join(f".replace('{{{name}}}', {text!r})" for name, text in texts.items())
    if written_as.is_plain:
        yield 'ids = tokenizer(prompt, return_tensors="pt").input_ids'
    else:
        as_written = "prompt" if written_as.prompt_text is str else f"prompt.{written_as.prompt_text.__name__}()"
        yield f"text = {written_as.head!r} + {as_written} + {written_as.tail!r}  # the chat template's turns"
        yield 'ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids'
    has_prefix = library == "peft" and learner.prefix_source is not None
    yield from (_step_by_step if has_prefix else _generation)(learner, adapted.decoding)
    yield "answer = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip()"
    stop = adapted.decoding.stop_text
    yield "print(answer)" if stop is None else f"print(answer.split({stop!r}, 1)[0].strip())"
    yield "```"


def _form_of_prompts(origin: Origin, adapted: AdaptedModel) -> str:
    """Return the form with its fields in braces; where tasks have forms of their own, that of the newest task."""
    form = adapted.template.text
    if isinstance(form, str):
        return form
    return form.get(adapted.stream.tasks[max(origin.num_learned - 1, 0)].name, next(iter(form.values())))


def _generation(learner: Learner, decoding: Any) -> Iterator[str]:
    yield "output = model.generate("
    yield "    input_ids=ids,"
    yield "    attention_mask=ids.new_ones(ids.shape),"
    yield f"    max_new_tokens={decoding.max_new_tokens},"
    yield "    do_sample=False,"
    if decoding.num_beam_groups == 1:  # groups of diverse beams are not transformers' own
        yield f"    num_beams={decoding.num_beams},"
    yield f"    eos_token_id={list(learner.end_ids)},"
    yield f"    pad_token_id={learner.pad_id},"
    yield ")"


def _step_by_step(learner: Learner, decoding: Any) -> Iterator[str]:
    """Yield a loop over forward passes: `generate` of peft 0.21 loses virtual tokens with transformers 5.24."""
    yield "output = ids  # not model.generate: some versions of peft lose the virtual tokens there"
    yield f"for _ in range({decoding.max_new_tokens}):"
    yield "    logits = model(input_ids=output, attention_mask=output.new_ones(output.shape)).logits"
    yield "    token = logits[:, -1:].argmax(dim=-1)"
    yield f"    if token.item() in {list(learner.end_ids)}:"
    yield "        break"
    yield "    output = torch.cat([output, token], dim=1)"


def _base(origin: Origin) -> Iterator[str]:
    model = origin.result.model
    revision = _line(model.get("revision", "unknown"))
    yield "## Base model"
    yield ""
    yield f"`{_line(origin.base_name)}`, revision `{revision}`."
    if "de-quantized" in revision:
        yield "**Its weights were rounded to few bits and de-quantized**: they are not those of the model of this name."
    for name, digest in weights_of(dict(model.get("sha256") or {})).items():
        yield f"- `{_line(name)}`, sha256 `{_line(digest)}`"
    yield ""
    yield "Its licence holds for this model, too; read it where the base model is published."


def _data(origin: Origin) -> Iterator[str]:
    data = origin.result.data
    yield "## Data"
    yield ""
    is_generated = data.get("source") == "generated"
    what = "**GENERATED text, no real data**" if is_generated else "read from files"
    yield f"`{_line(data['name'])}` (stream `{_line(data.get('stream', data['name']))}`), {what}, split "
    yield f"{_line(data.get('split', 'test'))}. Licence: {_line(data.get('license') or 'unknown')}."
    if data.get("note"):
        yield ""
        yield f"Note: {_line(data['note'])}"
    yield ""
    yield f"Content sha256: `{_line(data.get('content_sha256') or 'unknown')}`."


def _settings(origin: Origin) -> Iterator[str]:
    found = {key: origin.config[key] for key in _SETTINGS if key in origin.config}
    yield "## Method and settings"
    yield ""
    yield "```yaml"
    yield yaml.safe_dump(_without_paths(found), sort_keys=False, allow_unicode=True).rstrip().replace("```", "'''")
    yield "```"


def _without_paths(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _without_paths(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_without_paths(value) for value in node]
    return "(a local path)" if isinstance(node, str) and node.startswith(_LOCAL[:2]) else node


def _scores(origin: Origin) -> Iterator[str]:
    result = origin.result
    matrix = result.matrices.get(result.primary_metric)
    yield "## Scores"
    yield ""
    if matrix is None or len(matrix.rows) <= origin.num_learned:
        yield "None were recorded for this state."
        return
    yield f"After {counted(origin.num_learned, 'task')}, {_line(matrix.metric)} in percent:"
    yield ""
    yield "| test | before the first task | now |"
    yield "|---|---:|---:|"
    for test, first, now in zip(matrix.tests, matrix.rows[0], matrix.rows[origin.num_learned], strict=True):
        yield f"| {_line(test)} | {_percent(first)} | {_percent(now)} |"
    metrics = {name: metric for name, metric in result.metrics.items() if metric.value is not None and "/" not in name}
    if origin.num_learned == result.data.get("num_tasks") and metrics:
        yield ""
        yield "Of the whole stream, as fractions: " + ", ".join(
            f"{_line(name)} {metric.value:.4g}" for name, metric in metrics.items()
        )


def _versions(origin: Origin) -> Iterator[str]:
    yield "## Versions"
    yield ""
    known = [f"{name} {version}" for name, version in origin.result.versions.items() if version != "not installed"]
    yield ", ".join(_line(text) for text in known)


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.1f}"


def _line(text: object) -> str:
    """Return a text of the record as a part of a line, in which it ends no code, table cell or paragraph."""
    return " ".join(str(text).split()).replace("`", "'").replace("|", "\\|")
