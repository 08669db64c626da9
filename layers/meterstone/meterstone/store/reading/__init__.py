"""What the two endpoints read."""
