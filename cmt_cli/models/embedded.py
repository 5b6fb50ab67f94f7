"""The embedded backbone `model=tiny`: a small Llama whose weights are shipped with the package.

It was trained to read (a document and a question in, the answer out) on the generated world's base period; the folder
`tiny/` beside this file holds its weights, tokenizer and the recipe's record.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.stored_rows import file_sha256
from cmt_cli.models.adapters import with_adapter
from cmt_cli.models.chat import NONE, prompt_format
from cmt_cli.models.huggingface import resolve_device, resolve_dtype
from cmt_cli.models.model_digests import EMBEDDED
from cmt_cli.models.output_head import read_in_one_piece
from cmt_cli.models.unreadable import reading_tokenizer, reading_weights, refuse_json


def load(
    *,
    device: str,
    dtype: str,
    embedded: bool,
    chat_template: str = NONE,
    system_text: str | None = None,
    adapter: str | None = None,
) -> Learner:
    """Return the embedded learner on `device` ("auto", "cpu", "cuda"); raise UserError where its files are missing.

    `embedded` tells the data configuration that generated data may stand in for missing real data. The tokenizer has
    no chat template, so that another `chat_template` than "none" is refused. The LoRA adapter in the folder `adapter`
    is added to the weights.
    """
    weights = EMBEDDED / "model.safetensors"
    if not weights.is_file():
        raise UserError(
            f"The weights of the embedded model are missing: {weights} does not exist. Reinstall the package, or build "
            "them with the recipe that the README names under 'model=tiny'."
        )
    refuse_json(EMBEDDED)
    with reading_tokenizer(EMBEDDED):
        tokenizer = AutoTokenizer.from_pretrained(EMBEDDED, local_files_only=True)
    positions = AutoConfig.from_pretrained(EMBEDDED, local_files_only=True).max_position_embeddings
    written_as = prompt_format(
        tokenizer, chat_template=chat_template, system_text=system_text, name="tiny", max_tokens=positions
    )
    where = resolve_device(device)
    shows_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a second of loading needs none
    kind = resolve_dtype(dtype, where, 0)
    with reading_weights(EMBEDDED):
        model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=kind, local_files_only=True)
    if shows_bars:
        logging.enable_progress_bar()
    read_in_one_piece(model)
    return Learner(
        model.to(where),
        tokenizer,
        name="tiny",
        revision=with_adapter(model, file_sha256(weights)[:12], adapter),
        max_tokens=positions,
        prompt_format=written_as,
    )
