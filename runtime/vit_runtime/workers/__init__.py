"""Answers many pictures at a time: threads that read and compute, batches for accelerators, answers in order."""
