"""Selective models of several seeds, trained together."""
