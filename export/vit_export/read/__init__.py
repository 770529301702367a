"""Reads checkpoints: one file a family, and what they have in common."""
