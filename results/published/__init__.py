"""Published figures as CSV files, installed as `harness.published`; README.md says what the columns are."""
