"""Feed-forward weights in flash, and in DRAM the neurons that are needed: what is read, how fast, from where.

A room imports from those before it only: io, device_model, ablation, language_model.
"""
