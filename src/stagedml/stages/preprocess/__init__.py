"""From data as published to what a model reads."""
