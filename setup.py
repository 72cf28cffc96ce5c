"""A shim for tools that still look for this file; pyproject.toml is the truth."""

from setuptools import setup

setup()
