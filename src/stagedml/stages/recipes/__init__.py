"""What the catalogue composes of stages, a module a family."""
