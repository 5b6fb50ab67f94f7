"""Put a report together: one HTML file that brings its style, script and data with it and asks the network for nothing.

Nothing is executed while the page is made: the template's fields are replaced in one pass over the template alone.
Data stand in JSON in which `<`, `>` and `&` are escaped, or in base64; the script turns strings into text nodes only;
and a content security policy names the hashes of the one script and the one style, so that no other may run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from cmt_cli.core.exceptions import counted
from cmt_cli.reporting.examples import Packed
from cmt_cli.terminal.text import visible

SCRIPTS = ("base.js", "charts.js", "figures.js", "examples.js", "origin.js", "main.js")
_FIELD = re.compile(r"\{\{(\w+)\}\}")


def to_html(content: Mapping[str, Any], packed: Mapping[str, Packed], *, title: str) -> str:
    """Return the page; `packed` holds the sections' predictions by section id."""
    folder = files("cmt_cli.reporting") / "page"
    parts = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{parts}\n}})();'
    style = (folder / "report.css").read_text(encoding="utf-8")
    num_runs = sum(len(section["runs"]) for section in content["sections"])
    num_methods = sum(len(section["methods"]) for section in content["sections"])
    fields = {
        "policy": html.escape(_policy(script, style)),
        "title": _text(title),
        "lead": html.escape(
            f"{counted(num_runs, 'run')} of {counted(num_methods, 'method')}, written on {content['created']}"
        ),
        "footer": html.escape(
            f"Written by cmt {content['cmt']}. Scores are fractions; a missing one is never counted as 0."
        ),
        "style": style,
        "script": script,
        "content": escaped_json(content),
        "packed": "\n".join(_islands(packed)),
        "fallback": "".join(_fallback(section) for section in content["sections"]),
    }
    template = (folder / "report.html").read_text(encoding="utf-8")
    return _FIELD.sub(lambda field: fields[field[1]], template)


def _text(text: str) -> str:
    """Return a text of the page, which can hold no half of a surrogate pair and shows control characters."""
    return html.escape(visible(text))


def escaped_json(value: Any) -> str:
    """Return JSON that no HTML parser can take for markup and no script engine for a line's end."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(script: str, style: str) -> str:
    rules = ["default-src 'none'", f"script-src '{_hash(script)}'", f"style-src '{_hash(style)}'"]
    return "; ".join([*rules, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _islands(packed: Mapping[str, Packed]) -> list[str]:
    named = {f"shared:{section}": found.shared for section, found in packed.items()}
    named |= {f"run:{section}:{run}": text for section, found in packed.items() for run, text in found.runs.items()}
    return [f'<script type="text/plain" id="{html.escape(name)}">{text}</script>' for name, text in named.items()]


def _fallback(section: Mapping[str, Any]) -> str:
    """Return a section's main numbers as a plain table, for browsers without scripts."""
    names = ("aa", "fgt", "bwt", "retention")
    head = "".join(f"<th>{name}</th>" for name in ("method", *names))
    rows = []
    for method in section["methods"]:
        scores = method["scores"][section["primary"]]
        cells = ["-" if scores[name]["mean"] is None else f"{scores[name]['mean']:.3f}" for name in names]
        texts = "".join(f"<td>{_text(cell)}</td>" for cell in (method["name"], *cells))
        rows.append(f"<tr>{texts}</tr>")
    caption = _text(f"{section['data']}, {section['label']}, scored by {section['primary']}")
    return f"<table><caption>{caption}</caption><tr>{head}</tr>{''.join(rows)}</table>"
