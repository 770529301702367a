"""Reads pictures, and prepares them to the same bytes as the reference does."""
