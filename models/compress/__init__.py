"""What makes a model smaller: a file a method, and how their codes are stored."""
