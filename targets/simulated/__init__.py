"""What simulated targets share: programs and their inputs, int8 ranges, what is kept, and the way a worker speaks."""
