"""Fetching data sets and checkpoints."""
