"""Methods that round a trained model: a file a method."""
