"""NVIDIA GPUs: torch in the Python worker, NVML beside it."""
