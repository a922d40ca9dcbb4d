#!/usr/bin/env bash
# llama.cpp (llama-cpp-python 0.3.36) ends the whole process with SIGABRT for some damaged GGUF files, where it returns NULL for others.
#
# Expected: `llama_model_load_from_file` returns NULL for every file that it cannot load, as it does where a tensor is missing or
# a number of the metadata does not fit the tensors. Seen on x86-64 Linux, Python 3.11: with `block_count` 0, or more than 512, the
# process is aborted by an assertion; with a `layer_norm_epsilon` that is not a number it loads, and the first `llama_decode` aborts.
# A program that loads files of others has to look at these numbers first, or to load them in a process that may die.
# Below: one layer less than one. Exits 1 if the process outlives it. Compiling llama.cpp takes some minutes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gguf==0.19.0 llama-cpp-python==0.3.36
cat > "$folder/run.py" <<'PYTHON'
import sys

import gguf
import numpy as np
from llama_cpp import llama_cpp

WIDTH, VOCABULARY, CONTEXT = 64, 10, 8
layers, path = int(sys.argv[1]), sys.argv[2]
writer = gguf.GGUFWriter(path, "gpt2")
writer.add_context_length(CONTEXT)
writer.add_embedding_length(WIDTH)
writer.add_block_count(layers)
writer.add_feed_forward_length(WIDTH)
writer.add_head_count(1)
writer.add_layer_norm_eps(1e-5)
writer.add_vocab_size(VOCABULARY)
writer.add_tokenizer_model("none")
for name, sizes in (
    ("token_embd.weight", (VOCABULARY, WIDTH)),
    ("position_embd.weight", (CONTEXT, WIDTH)),
    ("output_norm.weight", (WIDTH,)),
    ("output_norm.bias", (WIDTH,)),
):
    writer.add_tensor(name, np.ones(sizes, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
llama_cpp.llama_backend_init()
model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
print("refused" if not model else "loaded")
PYTHON
export GGML_NO_BACKTRACE=1
run() { "$folder/venv/bin/python" "$folder/run.py" "$1" "$folder/model.gguf" 2>"$folder/errors" || code=$?; }
code=0
run 2
echo "2 layers, of which there are no tensors: exit code $code"
run 0
grep GGML_ASSERT "$folder/errors" || true
echo "no layers: exit code $code"
test "$code" = 134
