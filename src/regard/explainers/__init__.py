"""Methods: one a file."""
