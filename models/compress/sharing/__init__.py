"""Methods by which parts of a trained model share their weights: a file a method."""
