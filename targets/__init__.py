"""Targets: one module each, found through the entry-point group `harness.targets`."""
