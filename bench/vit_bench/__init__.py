"""Measures artifacts against PyTorch."""
