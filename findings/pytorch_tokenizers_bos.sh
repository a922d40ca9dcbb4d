#!/usr/bin/env bash
# pytorch-tokenizers 1.5.0 (ExecuTorch's): the Python class for a tokenizer.json ignores `bos` and `eos` of `encode`.
#
# Expected: encode(text, bos=True, eos=True) puts the token that begins a text before it and the one that ends it behind, and
# bos=False puts none, as the classes of the same package for SentencePiece and tiktoken do. Seen with pytorch-tokenizers 1.5.0,
# tokenizers 0.23.3, Python 3.11, x86-64 Linux: all four combinations give the same tokens, those of the file's own
# post-processor. So a model is asked without the token that it was trained to begin with, or with it where it was not wanted,
# depending on the file alone. harness calls `tokenizers` itself. Exits 1 if the arguments begin to matter.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pytorch-tokenizers==1.5.0 tokenizers==0.23.3
cat > "$folder/run.py" <<'PYTHON'
import json
import sys

from pytorch_tokenizers import HuggingFaceTokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors

folder, matters = sys.argv[1], False
for begins in (False, True):
    made = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "to": 2, "be": 3}, unk_token="<s>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if begins:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made.save(f"{folder}/tokenizer.json")
    with open(f"{folder}/tokenizer_config.json", "w") as file:
        json.dump({"bos_token": "<s>", "eos_token": "</s>"}, file)
    tokenizer = HuggingFaceTokenizer(f"{folder}/tokenizer.json", f"{folder}/tokenizer_config.json")
    every = {
        (bos, eos): tokenizer.encode("to be", bos=bos, eos=eos) for bos in (False, True) for eos in (False, True)
    }
    print("with" if begins else "without", "a post-processor:", every)
    matters |= len({tuple(tokens) for tokens in every.values()}) > 1
sys.exit(1 if matters else 0)
PYTHON
"$folder/venv/bin/python" "$folder/run.py" "$folder"
