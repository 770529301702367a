"""Keeps the embeddings of many pictures on the disk, with their names, and finds those that are most alike.

An index is a folder. `layout` says what lies in it (docs/search.md is the same in words), `snapshot` reads it, `writer`
adds to it, `nearest` searches. Nothing here knows a model: rows of float32 and names come in.
"""
