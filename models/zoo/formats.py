"""The formats that a model of the zoo can be built in, each with what decides how its file is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Format:
    """`suffix` is how its files end, `packages` decide what the exporter writes.

    `runtime` is what runs it where that is not ExecuTorch or torch, in words: its exporter, `export_FORMAT` of the
    module `models.export.FORMAT`, checks a file on text. `int4_in_groups`: its int4 has a step for each group of
    weights, and none for a channel.
    """

    suffix: str
    packages: tuple[str, ...] = ("torch", "executorch", "torchao")
    runtime: str | None = None
    int4_in_groups: bool = False


FORMATS = {
    "pte": Format(suffix=".pte"),
    "pt2": Format(suffix=".pt2"),
    "onnx": Format(
        suffix=".onnx",
        packages=("torch", "onnx", "onnxscript", "onnxruntime"),
        runtime="ONNX Runtime",
        int4_in_groups=True,
    ),
    "gguf": Format(
        suffix=".gguf", packages=("torch", "gguf", "llama_cpp_python"), runtime="llama.cpp", int4_in_groups=True
    ),
    "openvino": Format(suffix=".xml", packages=("torch", "torchao", "openvino"), runtime="OpenVINO"),
    "tflite": Format(
        suffix=".tflite",
        packages=("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
        runtime="LiteRT",
    ),
    "bound": Format(suffix=".bound", packages=("torch", "torchao"), runtime="the bound"),
}
SUFFIXES = tuple(known.suffix for known in FORMATS.values())
