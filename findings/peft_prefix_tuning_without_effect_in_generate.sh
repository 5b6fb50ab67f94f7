#!/usr/bin/env bash
# What was found
#   transformers 5.24.0 renamed the argument by which a decoder's forward pass takes keys and values from
#   `past_key_values` to `cache`; the old name is kept, with a warning, until 5.40. peft 0.21.2 still hands a trained
#   prefix over under the old name. A plain forward pass of a prefix-tuned Llama therefore sees the prefix, while
#   `generate` of the same object does not: it answers token for token as the base model does, without an error.
#   Somebody who trains with prefix tuning sees the loss fall and then evaluates the untrained model.
# What was run
#   A random Llama of two layers, peft's prefix tuning around it with a prefix of large random values, one prompt:
#   the change of the next token's logits by the forward pass, and the greedy answers of both by `generate`.
# What was seen
#   The logits change by more than 1; the answers are equal; the first token that `generate` gives is the base
#   model's and not the one that the tuned forward pass prefers.
# This script fails (exit code 1) as soon as that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/python -m pip --disable-pip-version-check -q"
# TORCH_INDEX may name a package index with CPU-only wheels.
$pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch==${TORCH_VERSION:-2.13.0}"
$pip install transformers==5.24.0 peft==0.21.2
"$folder/venv/bin/python" - <<'PY'
import sys
import warnings

import peft
import torch
import transformers
from peft import PrefixTuningConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

warnings.simplefilter("ignore")
print(f"transformers {transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}")
torch.manual_seed(0)
base = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=128, initializer_range=0.4, eos_token_id=None, pad_token_id=0,
    )
).eval()
prompt = torch.randint(1, 64, (1, 8))
inputs = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}


@torch.no_grad()
def seen(model):
    answer = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, prompt.shape[1] :]
    return model(**inputs).logits[0, -1], answer.tolist()


base_logits, base_answer = seen(base)
tuned = get_peft_model(base, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=6)).eval()
for parameter in tuned.prompt_encoder.parameters():
    torch.nn.init.normal_(parameter, std=3.0)
logits, answer = seen(tuned)
change = float((logits - base_logits).abs().max())
print(f"forward: a logit of the next token changes by up to {change:.2f}; it prefers token {int(logits.argmax())}")
print(f"generate, base model:   {base_answer}")
print(f"generate, prefix-tuned: {answer}")
as_found = change > 1 and answer == base_answer and answer[0] != int(logits.argmax())
print("as found" if as_found else "CHANGED: generate and the forward pass agree about the prefix")
sys.exit(0 if as_found else 1)
PY
