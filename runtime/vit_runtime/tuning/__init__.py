"""Finds what runs a model fastest on this machine, and remembers it."""
