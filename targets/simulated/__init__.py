"""What simulated targets share: programs and inputs, int8 ranges, the cache of programs, and how a worker speaks."""
