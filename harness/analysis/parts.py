"""What a row of a table of models may be named by, and points of a figure marked by. Imports nothing heavy."""

from __future__ import annotations

ROW_PARTS = ("model", "runtime", "precision", "method", "family")
