"""Texts cleaned and hashed, many at once."""
