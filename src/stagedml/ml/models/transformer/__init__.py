"""The Transformer of Vaswani et al. 2017, which turns one text into another."""
