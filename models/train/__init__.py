"""Training: the text, the loop, its checkpoints, and how good a model is."""
