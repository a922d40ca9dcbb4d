"""What `harness run` takes for any scenario: where and what, how it is run, which passes, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
SCENARIO_NAMES = ("generate", "single-stream", "multi-stream", "offline", "server", "sustained", "cold-start", "flash")

_OPTIONS = (
    click.option(
        "--target", "-t", "target_name", required=True, help="Where to measure; `harness targets` lists them."
    ),
    click.option(
        "--model",
        "-m",
        "models",
        multiple=True,
        required=True,
        metavar="FILE|NAME",
        help="A .pte or .pt2 file, or a name from `harness models list`. Repeat it to compare; the first is the "
        "baseline.",
    ),
    click.option(
        "--device",
        metavar="DEVICE",
        help="Which device of the target; of arm64: adb[:SERIAL], ssh:HOST, local, qemu[:CPU], or a name in the "
        "devices file; of cuda: a number or UUID of `nvidia-smi -L`. Default: the one at hand.",
    ),
    click.option(
        "--devices",
        type=click.Path(path_type=str, exists=True, dir_okay=False),
        help="The file that names devices; see `harness devices --help`.",
    ),
    click.option(
        "--runtime",
        metavar="NAME",
        help="Which runtime of the target: python or native on x86, eager or graphs on cuda; or one that loads the "
        "models (`harness targets`), where a format has several. Other models keep their own.",
    ),
    click.option(
        "--clock", metavar="MHZ", help="Hold a GPU's clock there for the session (needs root); put back after."
    ),
    click.option(
        "--scenario",
        type=click.Choice(SCENARIO_NAMES),
        help="Default: generate for language models, else single-stream.",
    ),
    click.option(
        "--processes",
        "-n",
        type=click.IntRange(1),
        help="Worker processes a model, interleaved. Default: 5; 1 of sustained, and where instructions are counted or "
        "cycles estimated: these are exact.",
    ),
    click.option(
        "--threads",
        default="1",
        show_default=True,
        metavar="LIST",
        help="Threads; a list or range (1,2,4 or 1-4) sweeps.",
    ),
    click.option(
        "--method",
        "methods",
        multiple=True,
        metavar="NAME",
        help="Which method of a .pte to measure; repeat it to measure several, each as a model of its own. Default: "
        "forward, or the only one.",
    ),
    click.option(
        "--data-file",
        "data_files",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        multiple=True,
        metavar="FILE",
        help="The weights of a .pte that has them in a .ptd; once a --model, in the same order. Default: the .ptd of "
        "the same name beside it, or the one that ExecuTorch's exporter wrote there.",
    ),
    click.option(
        "--batch",
        default="0",
        metavar="LIST",
        help="Batch size, for a model that was exported with a dynamic batch. All dimensions that vary together with "
        "the first input's batch change; all other sizes stay as declared. Of a model with fixed sizes it can only say "
        "which of them is the batch. 0, the default: the file's own. Sweeps.",
    ),
    click.option(
        "--batch-dim",
        metavar="N|none",
        help="Which dimension of the first input is the batch, counted from 0; none: an execute is one sample. Without "
        "it, the first is taken where it may vary or is 1, and else samples per second are not known.",
    ),
    click.option(
        "--prompt-tokens", metavar="LIST", help="Length of the prompt. Default: half the context, at most 128. Sweeps."
    ),
    click.option(
        "--new-tokens",
        metavar="LIST",
        help="Tokens to generate. Default: the rest of the context, at most 128. Sweeps.",
    ),
    click.option(
        "--cpus", multiple=True, metavar="LIST", help="Pin the worker to these processors (0,2-3). Repeat it to sweep."
    ),
    click.option("--compile", "compiled", is_flag=True, help="torch.compile the model (.pt2 only)."),
    click.option(
        "--precision",
        metavar="LIST",
        help="What a GPU computes in: fp32, tf32, fp16, bf16, int8 (bf16 with the weights of linear layers in int8). "
        "Default: the file's own, products in float32. Sweeps.",
    ),
    click.option(
        "--inputs",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="Inputs in the model's order, or by its names: .npz, .safetensors, or a .pt2, whose example inputs are "
        "meant. A number is an array without dimensions; None has no array. Default: made inputs, which go through all "
        "integers that the model takes.",
    ),
    click.option(
        "--labels",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="The classes of labelled samples, whose first dimension counts them in --inputs: an .npy or .npz of "
        "integers from 0. Gives the accuracy of each model over all samples; the first batch of them is timed.",
    ),
    click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The evaluation text."),
    click.option(
        "--tokens",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="The evaluation text in a model's own tokens, int64 .npy; for models without a tokenizer in a manifest.",
    ),
    click.option(
        "--max-eval-tokens",
        type=click.IntRange(1),
        help="Evaluate on at most so many tokens. Default: all; 512 under an emulator.",
    ),
    click.option("--no-quality", is_flag=True, help="Leave out the quality pass."),
    click.option("--profile", is_flag=True, help="Record operators too, in a pass of its own, and print the heaviest."),
    click.option("--no-memory", is_flag=True, help="Leave out the memory pass."),
    click.option(
        "--min-iterations",
        type=click.IntRange(1),
        help="Queries a process, at least; p90 takes 64 and p99 662, and neither is shown of fewer. Default: 64 of "
        "single-stream, 30 of generate (decode has a sample a token), 30 of offline, 1000 of server, 662 of "
        "multi-stream, 11 of flash; 3 where instructions are counted.",
    ),
    click.option(
        "--min-duration",
        type=click.FloatRange(0),
        help="Seconds measured a process, at least. Default: 1; 0 where instructions are counted.",
    ),
    click.option(
        "--max-duration",
        type=click.FloatRange(0),
        default=60.0,
        show_default=True,
        help="Seconds measured a process, at most.",
    ),
    click.option(
        "--max-warmup",
        type=click.FloatRange(0),
        default=2.0,
        show_default=True,
        help="Seconds of warm-up at most; it ends earlier when durations are steady.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=600.0,
        show_default=True,
        help="Seconds a worker may take, beside --duration.",
    ),
    click.option(
        "--lease-timeout",
        type=click.FloatRange(0),
        default=3600.0,
        show_default=True,
        help="Seconds to wait while another run holds the device.",
    ),
)


def run_options(command: Command) -> Command:
    """In the order in which the help shows them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
