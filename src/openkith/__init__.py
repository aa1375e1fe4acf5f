"""openkith: knows the voices it was told about, and says "unknown" to all others."""

__version__ = "0.1.0"
