"""One file a runtime: what loads a model and executes it."""
