"""The Python worker: one model, one job, in a process of its own. `python -m harness.worker` reads a request and
prints events.
"""
