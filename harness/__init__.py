"""harness: what a compressed model really costs on a real device."""

__version__ = "0.1.0"
