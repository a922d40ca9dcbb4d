"""Ways to put files somewhere and start a process there."""
