"""A new head on a frozen network."""
