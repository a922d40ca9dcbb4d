"""What stored results say: grouping by condition, comparison, figures with intervals, notes. Renders nothing."""
