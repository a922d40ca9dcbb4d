"""What simulated targets share: programs and their inputs, int8 ranges, the cache of lowered programs, and the way a worker speaks."""
