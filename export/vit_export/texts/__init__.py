"""The export of a text tower: its tokenizer, and from request to file."""
