#!/usr/bin/env bash
# Records again what the pages show (docs/output, docs/pictures/first.svg), on a machine that does nothing else:
#
#     pip install '.[figures]' && bash docs/record.sh
#
# Not recorded here: dsp.txt, a part of what `harness run -t dsp -m baseline -m selfcomp` prints.
set -euo pipefail
output=$(cd "$(dirname "$0")" && pwd)/output
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
record() { # record FILE COMMAND...: its standard output, as wide as the pages show, without spaces at the ends of lines
  local file=$1
  shift
  COLUMNS=${width:-92} "$@" | sed 's/ *$//' | sed '/./,$!d' >"$output/$file"
}
record first.txt harness run --target x86 --model baseline.pte --model selfcomp.pte --quiet
sed -n '/^```python/,/^```$/p' "$output/../getting-started.md" | sed '/^```$/q' | sed '/^```/d' >check.py
record pandas.txt python check.py
python "$output/../picture.py"
python "$output/../code/cnn.py"
python "$output/../code/transformer.py"
record cnn.txt harness run -t x86 -m cnn-fp32.pte -m cnn-int8.pte --quiet
record encoder.txt harness run -t x86 -m encoder-fp32.pte -m encoder-int8.pte --scenario offline --batch 1,8 --quiet
record inspect.txt harness models inspect cnn-fp32.pte
record list.txt harness models list
record targets.txt harness targets
record doctor.txt harness doctor
record reproduce.txt harness flash reproduce
record arm64.txt harness run -t arm64 -m baseline.pte -m selfcomp.pte --quiet
# Peers: the same network in every runtime and precision, one table. `.tflite` files are built in an environment of their
# own (docs/your-own-model.md), named by PEERS_TFLITE. Half an hour.
for precision in fp32 int8 int4; do
  for file in pte:pte onnx:onnx gguf:gguf openvino:xml; do
    harness models build baseline-6x384 --format "${file%:*}" --precision $precision --output "baseline.$precision.${file#*:}"
  done
done
for name in selfcomp priced; do harness models build $name-6x384 --output $name.pte; done
models=$(for file in baseline.*.{pte,onnx,gguf,xml} ${PEERS_TFLITE:-} selfcomp.pte priced.pte; do echo -m "$file"; done)
# shellcheck disable=SC2086
harness run -t x86 $models --cpus 0 --processes 8 --prompt-tokens 128 --new-tokens 64 --results peers --quiet
harness table peers.toml --results peers >"$output/peers.md"
