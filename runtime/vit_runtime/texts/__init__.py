"""Turns words into embeddings that lie in one space with those of pictures: a text tower, and its tokenizer.

Nothing here knows pictures or their models. `tokens` needs the package `tokenizers`; the rest is NumPy and onnxruntime.
"""
