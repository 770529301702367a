"""Makes the copy of a model file that starts sooner and shares its memory."""
