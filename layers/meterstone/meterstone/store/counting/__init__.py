"""Counting: reading, packing and writing tallies; folding events and the table's stream."""
