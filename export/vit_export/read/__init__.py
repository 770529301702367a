"""Reads checkpoints: a file for each family, and files for what the families share."""
