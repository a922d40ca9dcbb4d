"""Your own CNN, float32 against int8: export both, measure them on this machine, and read the speed-up from Python.

    python examples/cnn_fp32_int8.py

The two programs and the results are written to the current folder. Put your own network and your own images where
`Classifier` and `calibration_images` are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PROCESSES = 5
"""Worker processes per model: the unit of replication. Fewer than 5 give no interval worth printing."""


class Classifier(nn.Sequential):
    """32 x 32 pixels in three colours to ten classes."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 10),
        )


def calibration_images(count: int = 16) -> list[Tensor]:
    """Images that show the quantiser which values occur. Random ones here: use images of your own data."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 3, 32, 32, generator=generator) for _ in range(count)]


def quantised(model: nn.Module, images: Iterable[Tensor]) -> nn.Module:
    """The model with weights and activations in int8 (PT2E quantisation, XNNPACK's quantiser)."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    images = list(images)
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    observed = prepare_pt2e(torch.export.export(model, (images[0],)).module(), quantizer)
    for image in images:
        observed(image)
    result: nn.Module = convert_pt2e(observed)
    return result


def write_program(model: nn.Module, image: Tensor, path: Path) -> None:
    """Export the model, give XNNPACK what it can run, and write the program."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(model, (image,))
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    path.write_bytes(program.to_executorch().buffer)


def export_both(folder: Path) -> list[Path]:
    """Write cnn-fp32.pte and cnn-int8.pte to `folder`; the first is the baseline of the comparison."""
    torch.manual_seed(0)
    model, images = Classifier().eval(), calibration_images()
    paths = [folder / "cnn-fp32.pte", folder / "cnn-int8.pte"]
    write_program(model, images[0], paths[0])
    write_program(quantised(model, images), images[0], paths[1])
    return paths


def measure(paths: list[Path], processes: int = PROCESSES) -> Any:
    """Run both models on this machine, in turns, in so many processes each, and print how that goes on."""
    import harness

    models = [str(path) for path in paths]
    return harness.run(target="x86", models=models, processes=processes, progress=print)


def speed_up(result: Any) -> str:
    """How many times as fast int8 is, in one sentence with its interval."""
    (comparison,) = result.comparisons
    row = next(row for row in comparison.rows if row.metric.name == "steady_latency_ns_p50")
    ratio = row.versus[1]  # row.versus[0] belongs to the baseline, which is compared with nothing
    interval = "no interval" if ratio.low is None else f"[{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"int8 is {ratio.value:.2f}x {interval} as fast as float32"


def main() -> None:
    """Export, measure, print."""
    warnings.simplefilter("ignore", FutureWarning)  # torch and torchao warn of each other while exporting
    result = measure(export_both(Path()))
    table = result.table()  # a pandas DataFrame: a row per model and metric
    latency = table[table.metric == "steady_latency_ns_p50"]
    print(latency[["model", "label", "value", "low", "high", "unit", "n"]].round(1).to_string(index=False))
    print(speed_up(result))
    Path("cnn.md").write_text(result.to_markdown(), encoding="utf-8")
    print("The table with its notes is in cnn.md.")


if __name__ == "__main__":
    main()
