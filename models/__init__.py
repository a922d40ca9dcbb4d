"""Our models: the network, its training and compression, the exporters, and the zoo that knows them by name.

A room imports from those before it only: gpt, compress, train, export, zoo.
"""

from harness.models import compress as compress  # light, and callable: `harness.models.compress(module, method=...)`
