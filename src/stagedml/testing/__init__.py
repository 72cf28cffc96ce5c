"""Toy stages and helpers: for our own tests, and for the tests of whoever writes stages."""
