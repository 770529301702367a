"""Finds pictures in folders, lists and archives, one after the other."""
