"""Stream Server: live speech recognition for many callers."""

__version__ = "0.1.0"
