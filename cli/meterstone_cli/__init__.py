"""What runs on a person's machine: catalogue and usage files, keys, both endpoints on localhost."""
