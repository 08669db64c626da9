"""Counting: tallies packed, read, written; the fold and the stream."""
