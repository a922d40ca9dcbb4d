"""What a `.pt2` says of itself, in the protocol's words."""

from __future__ import annotations

from typing import Any

from harness.protocol import Describe
from harness.targets.simulated.programs import Archive
from harness.worker.pt2_inputs import inputs_of, outputs_of


def describe_archive(archive: Archive) -> Describe:
    """Inputs and outputs of the program `model`; of one that generates, what its two programs offer together: tokens
    and their position in, logits out, by ExecuTorch's LLM convention.
    """
    generation = archive.generation
    if generation is None:
        exported = archive.programs["model"]
        inputs, outputs = inputs_of(exported), outputs_of(exported)
        metadata: dict[str, Any] = {}
    else:
        inputs = [{"dtype": "int64", "sizes": [1, generation["context"]]}, {"dtype": "int64", "sizes": [1]}]
        outputs = [{"dtype": "float32", "sizes": [1, generation["vocabulary_size"]]}]
        metadata = {
            "get_vocab_size": generation["vocabulary_size"],
            "get_max_seq_len": generation["context"],
            "get_max_context_len": generation["context"],
            "use_kv_cache": True,
            "enable_dynamic_shape": False,
        }
    forward = {"name": "forward", "planned_bytes": None, "delegates": [], "inputs": inputs, "outputs": outputs}
    return Describe(format="pt2", methods=[forward], metadata=metadata, delegates=[])
