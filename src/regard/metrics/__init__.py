"""Numbers about maps: pure functions of tensors, one measure a file."""
