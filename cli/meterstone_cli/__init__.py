"""What runs on a person's machine: catalogue and usage files, keys, both endpoints on localhost."""

__version__ = "0.1.0"
