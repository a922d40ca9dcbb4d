"""`.gguf` language models through llama.cpp, on the processor.

To the scenarios such a model is one by ExecuTorch's convention, `forward(tokens, input_pos)`: a call at position 0
begins a new sequence. Token ids are all that is needed, so a file without a tokenizer runs too. Of a call's tokens the
logits of the last are computed, as in our `.pte`.

What its users get is kept: a cache in f16, flash attention where llama.cpp chooses it, weights mapped and laid out
again where there are faster kernels for that. Threads are those of the job, for prompts and for single tokens. Of
llama.cpp's devices only the processor is used, also where it was built for another.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import re
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import ModelError, UsageError
from harness.job import Files, Job
from harness.model_description import cached_generation, find_method
from harness.protocol import Describe, Loaded, Ops
from harness.runtime import Execute, LoadedModel, RuntimeCapabilities, RuntimeOption, option_values
from harness.worker.llama_cpp_errors import MEMORY, explain
from harness.worker.runtimes.gguf_file import GgufFile, read_gguf

name = "llama.cpp"
capabilities = RuntimeCapabilities(
    formats=(".gguf",),
    distributions=("llama_cpp_python",),
    install="pip install 'edge-harness[gguf]'",
    generates=True,
    per_operator=True,
    options=(
        RuntimeOption(
            name="cache_type",
            values=("f16", "f32"),
            default="f16",
            help="what keys and values are kept in, llama.cpp's default. In f32 the cache is twice as large, and only "
            "without flash attention, which reads it as f16, are the logits closer to those of float32.",
        ),
        RuntimeOption(
            name="flash_attention",
            values=("auto", "on", "off"),
            default="auto",
            help="whether attention is one operator; auto, llama.cpp's default, chooses it where the device has it.",
        ),
        RuntimeOption(
            name="ubatch",
            least=1,
            default="512",
            help="most tokens of a prompt that are computed at once, llama.cpp's default.",
        ),
    ),
)
_TYPES = {"f32": 0, "f16": 1}
_FLASH = {"auto": -1, "off": 0, "on": 1}
_FLASH_CHOSEN = re.compile(r"Flash Attention (enabled|not supported)")
_BUFFER = re.compile(r"(\S+) model buffer size = +(\S+ \w+)")
_INFO, _WARN, _ERROR = 2, 3, 4
# llama.cpp allocates the cache of the whole context at once: of a longer one than this no more than the job needs.
_USUAL_CONTEXT = 4096
# All logits of a window of a text take no more.
_MOST_LOGITS_BYTES = 1 << 28
# Threads of OpenMP that wait for work turn so often, a third of a millisecond, and sleep then. It bridges the time
# between two operators; the default of libgomp, thirty times as much, burns the processor behind every run.
_TURNS = "10000"
_log_lines: deque[tuple[int, str]] = deque(maxlen=1000)
_references: list[Any] = []
"""What llama.cpp holds a pointer to."""


def start(device: str) -> dict[str, str]:
    """Import the library, and keep its words off the standard streams. The version of llama.cpp, and what it was built
    with for this processor.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", _TURNS)
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # a failed assertion would start a debugger
    library = _library()
    callback = library.llama_log_callback(_keep_line)
    library.llama_log_set(callback, None)
    _references.append(callback)
    library.llama_backend_init()
    return {"llama.cpp": _version(library), "llama.cpp-build": _build(library)}


def prepare(path: Path) -> None:
    """Look at the header before llama.cpp does, and refuse what it must not open."""
    _check_size(path)
    read_gguf(path)


def describe(path: Path) -> Describe:
    """What the header says. llama.cpp opens the file too, without reading its weights, so that an architecture that it
    lacks or a missing tensor is told before anything is measured.
    """
    file = read_gguf(path)
    _check_size(path)
    library = _library()
    parameters = _model_parameters(library)
    parameters.use_extra_bufts = False
    library.llama_model_free(_open(library, path, parameters))
    return _describe(file)


def load(path: Path, job: Job, files: Files) -> LoadedModel:
    """Open the model, and make a context of `job.threads` threads, as long as the file's, but of more than 4096 tokens
    no longer than the job needs.

    Raises ModelError for a file that llama.cpp refuses, MemoryError where it does not fit into memory.
    """
    library, options = _library(), option_values(capabilities, job)
    start_ns = time.perf_counter_ns()
    model = _open(library, path, _model_parameters(library))
    opened_ns = time.perf_counter_ns()
    context = _new_context(library, path, model, job, options)
    ready_ns = time.perf_counter_ns()
    # Not before: a cold start must not find in memory what lies beside the weights.
    file = read_gguf(path)
    description = _describe(file)
    find_method(description, job.method)
    loaded = Loaded(
        program_ns=opened_ns - start_ns,
        method_ns=ready_ns - opened_ns,
        program_bytes=path.stat().st_size,
        planned_bytes=None,
        settings=_settings(library, context, file, options),
    )
    generation = _Generation(library, context, file.vocabulary)
    window = min(library.llama_n_ctx(context), file.context, _MOST_LOGITS_BYTES // (4 * file.vocabulary))
    operators = None
    if job.measure == "profile":
        library.llama_perf_context_reset(context)
        operators = generation.operators
    return LoadedModel(
        description,
        loaded,
        generation.execute,
        generation.all_logits if job.measure == "quality" else None,
        max(1, window),
        arrange=generation.arrange,
        operators=operators,
    )


def _library() -> Any:
    # The functions of its C interface, without the classes that are built on them.
    from llama_cpp import llama_cpp as library

    return library


def _version(library: Any) -> str:
    with contextlib.suppress(AttributeError):  # older ones do not say it
        library.llama_version.restype = ctypes.c_char_p
        return str(library.llama_version().decode())
    return "unknown"


def _build(library: Any) -> str:
    """The instruction sets and options that it was compiled with, such as `AVX2 FMA OPENMP`."""
    words = str(library.llama_print_system_info().decode())
    return " ".join(re.findall(r"(\w+) = 1\b", words))


def _keep_line(level: int, text: bytes, _: Any) -> None:
    """What llama.cpp says, but for what is for its own developers and the dots of its progress."""
    if level in (_INFO, _WARN, _ERROR):
        _log_lines.append((level, text.decode(errors="replace").rstrip()))


def _complaints() -> list[str]:
    return [line for level, line in _log_lines if level in (_WARN, _ERROR)]


def _check_size(path: Path) -> None:
    """Raises ModelError for a file that is larger than the memory of this machine."""
    try:
        size, memory = path.stat().st_size, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    if size > memory:
        raise ModelError(
            f"{path} has {size / 1e9:.1f} GB, and this machine {memory / 1e9:.1f} GB of memory: its weights would be "
            "read again for every token.",
            "Give a smaller model, or one of fewer bits.",
        )


def _model_parameters(library: Any) -> Any:
    parameters = library.llama_model_default_params()
    parameters.n_gpu_layers = 0
    devices = (ctypes.c_void_p * 1)()  # an empty list, where none would stand for all
    parameters.devices = ctypes.cast(devices, ctypes.c_void_p)
    _references.append(devices)
    return parameters


def _open(library: Any, path: Path, parameters: Any) -> Any:
    _log_lines.clear()
    model = library.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        raise _refusal(f"llama.cpp refuses {path}")
    if library.llama_model_has_encoder(model):
        raise ModelError(
            f"{path} has an encoder; only models that read their own tokens are run here.", "Choose another model."
        )
    return model


def _new_context(library: Any, path: Path, model: Any, job: Job, options: dict[str, str]) -> Any:
    trained = max(1, library.llama_model_n_ctx_train(model))
    needed = (job.prompt_tokens or 1) + (job.new_tokens or 1)
    parameters = library.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = min(trained, max(_USUAL_CONTEXT, needed))
    parameters.n_ubatch = int(options["ubatch"])
    parameters.n_threads = parameters.n_threads_batch = job.threads
    parameters.type_k = parameters.type_v = _TYPES[options["cache_type"]]
    parameters.flash_attn_type = _FLASH[options["flash_attention"]]
    parameters.offload_kqv = parameters.op_offload = False
    parameters.no_perf = job.measure != "profile"
    if job.measure == "quality" and hasattr(parameters, "n_outputs_max_per_seq"):
        parameters.n_outputs_max_per_seq = 0  # so many as there are tokens, where the default is one
    context = library.llama_init_from_model(model, parameters)
    if not context:
        raise _refusal(f"llama.cpp cannot run {path}")
    if not library.llama_get_memory(context):
        raise ModelError(f"{path} generates no text: llama.cpp keeps no cache for it.", "Give a language model.")
    return context


def _refusal(what: str) -> Exception:
    """What is raised where llama.cpp gave nothing, by the last of its complaints."""
    complaints = _complaints()
    for line in complaints:
        if MEMORY.search(line):
            return MemoryError(f"{what}: out of memory")
    reason, todo = explain(complaints)
    return ModelError(f"{what}: {reason}.", todo)


def _describe(file: GgufFile) -> Describe:
    """The model by ExecuTorch's convention; of its metadata what is about the model, and not its tokenizer."""
    own = ("general.", f"{file.architecture}.")
    facts = {
        "get_vocab_size": file.vocabulary,
        "get_max_seq_len": file.context,
        "get_max_context_len": file.context,
        "use_kv_cache": True,
    }
    metadata = {
        key: value
        for key, value in file.metadata.items()
        if key.startswith(own) and (not isinstance(value, float) or math.isfinite(value))
    }
    return Describe(
        format="gguf",
        methods=[cached_generation(file.context, file.vocabulary)],
        metadata={**metadata, **facts},
        delegates=[],
    )


def _settings(library: Any, context: Any, file: GgufFile, options: dict[str, str]) -> dict[str, str]:
    lines = [line for _, line in _log_lines]
    flash = options["flash_attention"]
    if flash == "auto":
        chosen = next((match[1] for line in lines if (match := _FLASH_CHOSEN.search(line))), None)
        flash = {"enabled": "on", "not supported": "off", None: "auto"}[chosen]
    buffers = [f"{match[1]} {match[2]}" for line in lines if (match := _BUFFER.search(line))]
    threads = library.llama_n_threads(context), library.llama_n_threads_batch(context)
    waiting = [f"{name}={os.environ[name]}" for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ]
    return {
        "threads": ", for prompts ".join(map(str, dict.fromkeys(threads))),
        **({"threads wait": " ".join(waiting)} if max(threads) > 1 and "OPENMP" in _build(library) else {}),
        "context": str(library.llama_n_ctx(context)),
        "ubatch": str(library.llama_n_ubatch(context)),
        "flash_attention": flash,
        "weights": ", ".join(f"{kind} x {count}" for kind, count in sorted(file.types.items())),
        "weights in memory": ", ".join(buffers) or "llama.cpp does not say",
    }


class _Generation:
    """Runs a model: makes its batches beforehand. llama.cpp keeps the cache."""

    def __init__(self, library: Any, context: Any, vocabulary: int) -> None:
        self._library, self._context, self._vocabulary = library, context, vocabulary
        self._memory = library.llama_get_memory(context)
        self._row = ctypes.c_float * vocabulary
        self.execute = self._executed()

    def arrange(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Tokens int32 [1, n] and the position of the first, as tensors of torch, to what `execute` takes."""
        tokens, input_pos = inputs
        begin = int(input_pos.reshape(-1)[0])
        return self._batch(tokens, begin), begin == 0

    def all_logits(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Tokens [1, T] to the logits float32 [1, T, vocabulary] of every position."""
        import numpy as np
        import torch

        count = inputs[0].shape[1]
        batch = self._batch(inputs[0].to(torch.int32).contiguous(), 0)
        wanted = (ctypes.c_int8 * count)(*[1] * count)
        batch.logits = wanted
        self._decode(batch, begins=True)
        rows = ctypes.cast(self._library.llama_get_logits(self._context), ctypes.POINTER(self._row * count))
        return [np.array(rows.contents)[None]]

    def operators(self) -> list[Ops]:
        """What llama.cpp's own clock says of tokens that were computed with others, and of those by themselves. It does
        not time the operators within.
        """
        perf = self._library.llama_perf_context(self._context)
        kinds = (
            ("prefill of a token (all operators)", perf.n_p_eval, perf.t_p_eval_ms),
            ("decode of a token (all operators)", perf.n_eval, perf.t_eval_ms),
        )
        # It counts one token where there was none.
        return [
            Ops(operator=operator, delegate=None, calls=int(tokens), total_ns=round(total_ms * 1e6))
            for operator, tokens, total_ms in kinds
            if total_ms > 0
        ]

    def _executed(self) -> Execute:
        import numpy as np

        context, memory, row = self._context, self._memory, self._row
        decode, clear = self._library.llama_decode, self._library.llama_memory_clear
        logits_of, address_of = self._library.llama_get_logits_ith, ctypes.addressof
        place, view = 0, np.empty((1, self._vocabulary), np.float32)

        def execute(inputs: Sequence[Any]) -> Sequence[Any]:
            nonlocal place, view
            batch, begins = inputs
            if begins:
                clear(memory, False)
            if decode(context, batch):
                raise self._failure()
            logits = logits_of(context, -1)
            if not logits:
                raise self._failure()
            if (address := address_of(logits.contents)) != place:  # it hardly ever moves
                place, view = address, np.ctypeslib.as_array(row.from_address(address))[None]
            return [view.copy()]  # the next call writes to the same place

        return execute

    def _decode(self, batch: Any, *, begins: bool) -> None:
        if begins:
            self._library.llama_memory_clear(self._memory, False)
        if self._library.llama_decode(self._context, batch):
            raise self._failure()

    def _failure(self) -> ModelError:
        complaints = _complaints()
        reason, _ = explain(complaints) if complaints else ("it gives no logits", "")
        return ModelError(f"llama.cpp cannot compute the model: {reason}.", "Choose another model.")

    def _batch(self, tokens: Any, begin: int) -> Any:
        """A batch that reads the memory of `tokens`: of a step the token is written there once it is known."""
        count = tokens.shape[1]
        if count > (most := self._library.llama_n_batch(self._context)):  # more than its batch holds
            raise UsageError(f"{count} tokens do not fit into the model's context of {most}.", "Give a shorter prompt.")
        token = ctypes.cast(tokens.data_ptr(), ctypes.POINTER(ctypes.c_int32))
        positions = (ctypes.c_int32 * count)(*range(begin, begin + count))
        batch = self._library.llama_batch(n_tokens=count, token=token, pos=positions)
        batch.holds = tokens, positions  # as long as the batch
        return batch
