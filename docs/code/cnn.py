"""A small image classifier as two files: float32, and int8 by ExecuTorch's own quantiser."""

import warnings

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.exir import to_edge_transform_and_lower
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e


class Classifier(nn.Sequential):
    """32 x 32 pixels in three colours to ten classes. Put your own trained model here."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 128, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(128, 10),
        )


def write(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], path: str) -> None:
    """Export, give to XNNPACK what it can run, and write the program."""
    exported = torch.export.export(module, inputs)
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    with open(path, "wb") as file:
        file.write(program.to_executorch().buffer)


warnings.simplefilter("ignore", FutureWarning)  # torch warns of its own code while exporting
torch.manual_seed(0)
model, images = Classifier().eval(), (torch.randn(1, 3, 32, 32),)
write(model, images, "cnn-fp32.pte")

quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
prepared = prepare_pt2e(torch.export.export(model, images).module(), quantizer)
for _ in range(16):  # calibration: use images of your own data
    prepared(torch.randn(1, 3, 32, 32))
write(convert_pt2e(prepared), images, "cnn-int8.pte")
