"""Joules: where they can be read, and how much of them fell into a window of time."""
