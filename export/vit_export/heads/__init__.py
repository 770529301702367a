"""Heads of the user's own classes, in place of the checkpoint's."""
