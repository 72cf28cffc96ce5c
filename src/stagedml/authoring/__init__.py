"""What the author of a stage writes with."""
