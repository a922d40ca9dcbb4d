"""Recipes, trained weights, and the files that are made of them, by name."""
