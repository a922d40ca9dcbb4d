"""Pure functions: numbers in, numbers out. The process is the unit of replication everywhere."""
