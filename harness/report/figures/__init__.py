"""Figures for print, drawn by matplotlib (extra `figures`) from the store: the same results give the same bytes."""
