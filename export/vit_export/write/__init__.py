"""The graph, written from its weights: as the paper has it, in a precision, to a file."""
