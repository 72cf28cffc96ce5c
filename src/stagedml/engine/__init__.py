"""Planning and running: from a closure to realizations."""
