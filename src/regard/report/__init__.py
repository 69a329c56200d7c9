"""Runs as reports: one HTML file that opens from disk. The only place where runs become HTML."""
