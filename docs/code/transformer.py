"""A text classifier as two files with a dynamic batch: float32, and linear layers in int8."""

import warnings

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from torch import nn
from torchao.quantization import quantize_
from torchao.quantization.granularity import PerAxis
from torchao.quantization.quant_api import Int8DynamicActivationIntxWeightConfig
from torchao.utils import unwrap_tensor_subclass


class Encoder(nn.Module):
    """Token ids [batch, 64] to four classes."""

    def __init__(self, width: int = 128, layers: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, width)
        self.position = nn.Parameter(torch.randn(64, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.embedding(tokens) + self.position).mean(1))


def write(module: torch.nn.Module, path: str) -> None:
    """The batch may be 1 to 32: it is the first size, and the only one that may change."""
    tokens = torch.randint(0, 1000, (2, 64))
    dynamic = ({0: torch.export.Dim("batch", min=1, max=32)},)
    exported = torch.export.export(module, (tokens,), dynamic_shapes=dynamic)
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    with open(path, "wb") as file:
        file.write(program.to_executorch().buffer)


warnings.simplefilter("ignore", FutureWarning)  # torch warns of its own code while exporting
torch.manual_seed(0)
model = Encoder().eval()
write(model, "encoder-fp32.pte")
quantize_(model, Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int8, weight_granularity=PerAxis(0)))
write(unwrap_tensor_subclass(model), "encoder-int8.pte")
