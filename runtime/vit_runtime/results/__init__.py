"""Writes answers to files that grow record by record, and goes on with them after an interruption."""
