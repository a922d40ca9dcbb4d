"""Feed-forward weights in flash, and in DRAM the neurons that are needed: what is read, how fast, from where."""
