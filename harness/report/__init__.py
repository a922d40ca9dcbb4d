"""Comparisons and records of what was measured, for people and for programs: one table model, several renderers."""
