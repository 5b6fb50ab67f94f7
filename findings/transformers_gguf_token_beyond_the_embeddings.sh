#!/usr/bin/env bash
# What was found
#   transformers 5.24.0 reads a GGUF file's tokenizer and model separately. Where a Llama file has a byte-level BPE
#   tokenizer and names no unknown token, as is usual (byte-level BPE knows none), the tokenizer gets one token more than
#   the file lists, `<|endoftext|>`, which has the next free id. The model's embeddings have the file's number of rows, so
#   that this id is none of theirs. The unknown token of the tokenizer is still None, and so the addition serves nothing.
#   Whoever checks that a tokenizer fits its model, or sizes a table by `len(tokenizer)`, meets a token that the file
#   does not have; the tokenizer and model of the same weights as safetensors have the same size.
# What was run
#   A Llama of one layer with 67 tokens, written by gguf's own writer; its tokenizer and its model are read back.
# What was seen
#   The file lists 67 tokens, the model embeds 67, the tokenizer has 68: `<|endoftext|>` with the id 67, unknown token None.
# This script fails (exit code 1) as soon as that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/python -m pip --disable-pip-version-check -q"
# TORCH_INDEX may name a package index with CPU-only wheels.
$pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch==${TORCH_VERSION:-2.13.0}"
$pip install transformers==5.24.0 gguf==0.19.0 accelerate==1.15.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import gguf
import numpy as np
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

print(f"transformers {transformers.__version__}")
letters = [chr(code) for code in range(33, 97)]
tokens = ["<s>", "</s>", *letters, "AB"]
writer = gguf.GGUFWriter("small.gguf", "llama")
writer.add_context_length(64)
writer.add_embedding_length(32)
writer.add_block_count(1)
writer.add_feed_forward_length(64)
writer.add_head_count(2)
writer.add_head_count_kv(2)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_dimension_count(16)
writer.add_vocab_size(len(tokens))
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("default")
writer.add_token_list(tokens)
writer.add_token_types([3, 3, *[1] * (len(tokens) - 2)])
writer.add_token_merges(["A B"])
writer.add_bos_token_id(0)
writer.add_eos_token_id(1)
layer = {
    **{f"attn_{name}": (32, 32) for name in ("q", "k", "v", "output")},
    **{"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64), "attn_norm": (32,), "ffn_norm": (32,)},
}
shapes = {"token_embd": (len(tokens), 32), "output": (len(tokens), 32), "output_norm": (32,)}
shapes |= {f"blk.0.{name}": shape for name, shape in layer.items()}
draw = np.random.default_rng(0)
for name, shape in shapes.items():
    writer.add_tensor(f"{name}.weight", draw.normal(size=shape).astype(np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

tokenizer = AutoTokenizer.from_pretrained(".", gguf_file="small.gguf")
model = AutoModelForCausalLM.from_pretrained(".", gguf_file="small.gguf")
rows = model.get_input_embeddings().num_embeddings
beyond = {token: index for token, index in tokenizer.get_vocab().items() if index >= rows}
print(f"tokens in the file: {len(tokens)}; rows of the embeddings: {rows}; tokens of the tokenizer: {len(tokenizer)}")
print(f"beyond the embeddings: {beyond}; unknown token: {tokenizer.unk_token}")
seen = (rows, len(tokenizer), beyond, tokenizer.unk_token)
sys.exit(seen != (len(tokens), len(tokens) + 1, {"<|endoftext|>": len(tokens)}, None))
PY
