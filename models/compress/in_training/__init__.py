"""Methods that are learned while the model is trained on, from its trained weights: a file a method."""
