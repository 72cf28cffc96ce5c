"""Answers about a store, as frozen views that faces render."""
