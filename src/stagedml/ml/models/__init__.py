"""Models, one package for each."""
