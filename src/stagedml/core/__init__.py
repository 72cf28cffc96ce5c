"""Values and rules: no disk, no network, no clock, no randomness."""
