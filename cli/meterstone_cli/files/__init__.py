"""Files of usage: read row by row, imported, and those of the demo."""
