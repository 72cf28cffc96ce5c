"""The catalogue: recipes over `ml`, which do not know who runs them."""
