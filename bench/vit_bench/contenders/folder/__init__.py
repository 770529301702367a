"""Contenders that answer for a folder of photos: each with the pipeline that its own users would take."""
