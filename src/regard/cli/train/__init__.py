"""`regard train`: one file a thing that is trained, and what they say alike."""
