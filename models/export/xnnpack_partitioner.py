"""XNNPACK's partitioner, which ExecuTorch 1.5 leaves blind to the branches of `torch.cond`, taken into them.

`to_backend` lowers what is tagged in a branch as well as what is tagged outside; XNNPACK's partitioner tags nothing
there, so a branch would be left to portable kernels: a prefill of 128 tokens at six blocks of 384 then took twice as
long.
"""

from __future__ import annotations

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir.backend.partitioner import PartitionResult
from executorch.exir.graph_module import get_control_flow_submodules
from torch import Tensor
from torch.export import ExportedProgram


class Partitioner(XnnpackPartitioner):  # type: ignore[misc]
    """Delegates the tensors of every branch: a branch may hold none but XNNPACK's operators, or lowering fails."""

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        """As XnnpackPartitioner's, with one delegate more for each branch."""
        result = super().partition(exported_program)
        for number, (_, branch, _) in enumerate(get_control_flow_submodules(exported_program.graph_module)):
            tag = f"branch_{number}"
            for node in branch.graph.nodes:
                if node.op == "call_function" and isinstance(node.meta["val"], Tensor):  # no check of a size
                    node.meta["delegation_tag"] = tag
            result.partition_tags[tag] = self.delegation_spec
        return result
