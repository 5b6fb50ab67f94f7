"""Small randomly initialized checkpoints of the families that the harness supports, made in memory within a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from cmt_cli.core.learner import Learner
from cmt_cli.models import huggingface

CORPUS = [
    "Question: Where does Ada Lovelace work?\nAnswer: Ada Lovelace works in London.",
    "Mara Oduya moved from Lagos to the city of Turin in 1987 and became an engineer there.",
    "The bridge over the river was opened on 4 May 2019; who opened it? The mayor of Turin did.",
    "Answers are short: a name, a place, a year, or yes and no.",
] * 20
VOCABULARY = 384
POSITIONS = 128

FAMILIES: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,  # grouped queries
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=False,
    ),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=POSITIONS, bos_token_id=0, eos_token_id=1
    ),  # tied embeddings
    "qwen2": Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
    ),
    "qwen3": Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,  # not hidden_size / heads
        max_position_embeddings=POSITIONS,
    ),
}


TURN_TOKENS = ("<|turn|>", "<|end|>")
# Head, tail and end of a chat template: "<|turn|>user\n", "<|end|>\n<|turn|>assistant\n", "<|end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|turn|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def byte_level_tokenizer(
    *, adds_bos: bool, chat_template: str | None = None, turn_tokens: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the corpus: any text passes; with `adds_bos` a start token opens every sequence."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>", *turn_tokens],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", chat_template=chat_template
    )


def sentencepiece_like_tokenizer() -> PreTrainedTokenizerFast:
    """Train a BPE that marks spaces with "▁", adds one in front of a text and a start token, as Llama 2's does."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def save_checkpoint(
    folder: Path, family: str, *, chat_template: str | None = None, turn_tokens: Sequence[str] = ()
) -> Path:
    """Save a random model of a family with its tokenizer; only Llama's adds a start token. Return the folder."""
    torch.manual_seed(0)
    tokenizer = byte_level_tokenizer(adds_bos=family == "llama", chat_template=chat_template, turn_tokens=turn_tokens)
    config = type(FAMILIES[family]).from_dict(
        {**FAMILIES[family].to_dict(), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    )
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # default initial weights are so small that every position predicts alike
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def spanning_tokenizer() -> PreTrainedTokenizerFast:
    """Return a BPE without words, of which one token lies across a colon and the label behind it: ": Ca"."""
    letters = sorted(set(" :ACQacdegnorstw"))
    merges = [(" ", "C"), (" C", "a"), (":", " Ca")]
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *letters, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def load_checkpoint(place: Path | str, **changes: Any) -> Learner:
    """Load a checkpoint on the CPU, with the settings of a model's yaml but for `changes`."""
    settings: dict[str, Any] = {
        "revision": "main",
        "dtype": "auto",
        "quantization": None,
        "attention": "sdpa",
        "device": "cpu",
        "max_tokens": 64,
        "trust_remote_code": False,
        "embedded": False,
    }
    return huggingface.load(name_or_path=str(place), **{**settings, **changes})
