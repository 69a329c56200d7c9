"""Networks that tell classes by a few photos of each."""
