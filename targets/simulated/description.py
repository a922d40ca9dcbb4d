"""What a `.pt2` says of itself, in the protocol's words."""

from __future__ import annotations

from typing import Any

from harness.protocol import Describe
from harness.targets.simulated.programs import Archive


def describe_archive(archive: Archive) -> Describe:
    """Inputs and outputs of the program `model`; of one that generates, what its two programs offer together: tokens
    and their position in, logits out, by ExecuTorch's LLM convention.
    """
    said = archive.generation
    if said is None:
        exported = archive.programs["model"]
        nodes = {node.name: node for node in exported.graph.nodes}
        given = exported.graph_signature
        inputs = [_tensor(nodes.get(str(name))) for name in given.user_inputs]
        outputs = [_tensor(nodes.get(str(name))) for name in given.user_outputs]
        metadata: dict[str, Any] = {}
    else:
        inputs = [{"dtype": "int64", "sizes": [1, said["context"]]}, {"dtype": "int64", "sizes": [1]}]
        outputs = [{"dtype": "float32", "sizes": [1, said["vocabulary_size"]]}]
        metadata = {
            "get_vocab_size": said["vocabulary_size"],
            "get_max_seq_len": said["context"],
            "get_max_context_len": said["context"],
            "use_kv_cache": True,
            "enable_dynamic_shape": False,
        }
    forward = {"name": "forward", "planned_bytes": None, "delegates": [], "inputs": inputs, "outputs": outputs}
    return Describe(format="pt2", methods=[forward], metadata=metadata, delegates=[])


def _tensor(node: Any) -> dict[str, Any]:
    value = None if node is None else node.meta.get("val")
    if value is None or not hasattr(value, "dtype"):
        return {"dtype": "none", "sizes": []}
    # A dynamic dimension gets the size of the example that the program was exported with.
    sizes = [size if isinstance(size, int) else int(size.node.hint) for size in value.shape]
    return {"dtype": str(value.dtype).removeprefix("torch."), "sizes": sizes}
