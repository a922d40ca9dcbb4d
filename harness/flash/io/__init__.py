"""Reading weights from flash into DRAM: the file they lie in, and every way of reading it."""
