"""StagedML in IPython and Jupyter: what `%load_ext stagedml` brings."""
