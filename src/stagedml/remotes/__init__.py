"""Bytes that live elsewhere: sums, mirrors, downloads, archives and wheels.

This layer knows bytes, not stages: plain functions over paths, URLs and plain settings, none of which is in any hash.
It imports `stagedml.errors` and nothing else of the project; what reaches a network is imported inside functions.
"""
