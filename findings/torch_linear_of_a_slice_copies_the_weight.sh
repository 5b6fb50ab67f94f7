#!/usr/bin/env bash
# What was found
#   A frozen model's prefill is slower by far than the same model's before it was frozen, on a CPU in half precision.
#   Decoder models compute the logits of the last position only, `lm_head(hidden[:, -1:, :])`: transformers does so in
#   every prefill of `generate()` and for `logits_to_keep=1`. The slice `[batch, 1, hidden]` is a view with gaps between
#   its rows. torch folds the batch into the rows of one matrix product where the weight requires gradients, even
#   without gradient mode. Where it does not (`requires_grad_(False)`, as peft freezes the base model), linear expands the
#   weight to `[batch, hidden, vocab]` for a batched product, and in bfloat16 and float16 the expanded weight is really
#   copied: batch x hidden x vocab x 2 bytes, 3.4 GiB for 64 rows of a 135M model with 49,152 tokens. In float32
#   nothing is copied, but it takes several times as long. Batched evaluation of a frozen or adapted model spends most
#   of its time and memory there (measured on that model: 26 of 33 CPU seconds), and nothing tells of it, as the results
#   are the same. `.contiguous()` in front of the head ends it.
# What was run
#   `model(..., logits_to_keep=1)` of a Llama of one layer with random weights in bfloat16, under `no_grad`: as it is made,
#   frozen, and frozen with rows in one piece; torch's profiler tells the most bytes that one call asks for.
# What was seen
#   As made: below one weight of the head. Frozen: 16 weights for a batch of 16. In one piece: below one again. The logits
#   agree within the rounding of bfloat16.
# This script fails (exit code 1) as soon as that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/python -m pip --disable-pip-version-check -q"
# TORCH_INDEX may name a package index with CPU-only wheels.
$pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch==${TORCH_VERSION:-2.13.0}"
$pip install transformers==5.24.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys
import time

import torch
import transformers
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM

ROWS, POSITIONS, HIDDEN, VOCAB = 16, 32, 256, 16_384
torch.manual_seed(0)
torch.set_grad_enabled(False)
print(f"torch {torch.__version__}, transformers {transformers.__version__}")
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4
    )
).bfloat16()
ids = torch.randint(VOCAB, (ROWS, POSITIONS))


def asked(name):
    """Return the most bytes that one call asks for, in weights of the head, and the logits; print them and the time."""
    model(input_ids=ids, logits_to_keep=1)
    start = time.perf_counter()
    logits = model(input_ids=ids, logits_to_keep=1).logits
    seconds = time.perf_counter() - start
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        model(input_ids=ids, logits_to_keep=1)
    weights = max(event.cpu_memory_usage for event in seen.events()) / (HIDDEN * VOCAB * 2)
    print(f"{name}: {weights:.2f} weights of the head asked for at once; {seconds:.4f} s")
    return weights, logits.float()


as_made, expected = asked("as made")
model.requires_grad_(False)
frozen, logits = asked("frozen")
model.lm_head.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(),))
whole, others = asked("frozen, in one piece")
agree = all(torch.allclose(expected, found, rtol=0.02, atol=0.02) for found in (logits, others))
print(f"the logits agree: {agree}")
still = as_made < 1 and frozen >= ROWS and whole < 1 and agree
print("still so" if still else "CHANGED: look at the versions above")
sys.exit(not still)
PY
