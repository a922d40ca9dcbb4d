"""The native worker: C++ on ExecuTorch's own libraries, built from the wheel, for any device that they run on."""
