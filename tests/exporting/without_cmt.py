"""A program: load exported folders as anybody does, with transformers and peft alone.

Last arguments: a JSON list of [folder, form] and a safetensors file with `ids` `[rows, tokens]`; logits and answers are
written beside that file, as `logits.safetensors` and `answers.json`, by the folders' paths.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM


def answer_of_the_card(folder: Path) -> str:
    """Execute the program that the model card prints, in the card's folder."""
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    before, printed = Path.cwd(), io.StringIO()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, {})
    finally:
        os.chdir(before)
    return printed.getvalue().removesuffix("\n")


def main() -> None:
    """Load every folder."""
    folders, given = json.loads(sys.argv[-2]), Path(sys.argv[-1])
    ids = load_file(given)["ids"]
    logits, answers = {}, {}
    classes: dict[str, Any] = {"peft": AutoPeftModelForCausalLM, "merged": AutoModelForCausalLM}
    for folder, form in folders:
        model = classes[form].from_pretrained(folder, dtype=torch.float32).eval()
        with torch.no_grad():
            found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        logits[folder] = found[:, -ids.shape[1] :].float().contiguous()
        answers[folder] = answer_of_the_card(Path(folder))
    save_file(logits, given.with_name("logits.safetensors"))
    given.with_name("answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
