"""Methods that leave the weights of a model as they are, and learn a small addition to each layer."""
