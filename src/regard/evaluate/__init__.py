"""Methods judged on photos: what is judged, with what, and what the numbers say."""
