"""Finds pictures in folders, reads them, and prepares them to the same bytes as the reference does."""
