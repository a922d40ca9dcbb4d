"""The conditions of a measurement: what the machine is, what state it was in, and whether a row can be trusted."""
