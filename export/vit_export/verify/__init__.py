"""Verifies the written file against PyTorch, on pictures made by formula."""
