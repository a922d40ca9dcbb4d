"""Methods that write a trained matrix as a product of smaller ones: a file a method."""
