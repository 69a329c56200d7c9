"""TAME: an attention trained once for a frozen classifier."""
