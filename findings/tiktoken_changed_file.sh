#!/bin/sh
# tiktoken 0.14.0: `load_tiktoken_bpe` of a local file gives what lay at that path when it was first read, also in other
# processes and after the file has changed. Expected: the file's content now.
#
# A path is treated as an address of the network: its content is copied to data-gym-cache in the folder for temporary
# files, under the hash of the path. Without an expected hash the copy is never compared with the file. Llama 3's
# tokenizer.model is such a file, and pytorch-tokenizers (ExecuTorch's) reads it this way: who trains a tokenizer again
# under the same path measures and exports with the old one, without a word. TIKTOKEN_CACHE_DIR="" turns the cache off.
#
# harness reads the lines of such files itself. Seen on Linux x86-64, CPython 3.11.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tiktoken==0.14.0
export TMPDIR="$folder"
cat > "$folder/read.py" <<'PYTHON'
import base64, sys
from tiktoken.load import load_tiktoken_bpe

path, token = sys.argv[1], sys.argv[2].encode()
tokens = [bytes([byte]) for byte in range(256)] + [token]
with open(path, "w") as file:
    for rank, each in enumerate(tokens):
        print(base64.b64encode(each).decode(), rank, file=file)
known = load_tiktoken_bpe(path)
print("written", token.decode(), "read", max(known, key=known.get).decode())
PYTHON
"$folder/venv/bin/python" "$folder/read.py" "$folder/tokenizer.model" first | tee "$folder/output"
"$folder/venv/bin/python" "$folder/read.py" "$folder/tokenizer.model" second | tee -a "$folder/output"
TIKTOKEN_CACHE_DIR="" "$folder/venv/bin/python" "$folder/read.py" "$folder/tokenizer.model" third | tee -a "$folder/output"
cat > "$folder/seen" <<'SEEN'
written first read first
written second read first
written third read third
SEEN
diff "$folder/seen" "$folder/output" && echo "tiktoken 0.14.0: as seen"
