"""Writes the graph from its weights: as in the paper, in a chosen precision, to a file."""
