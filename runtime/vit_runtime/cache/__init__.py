"""The user's cache folder: what can be made again, and saves time until then."""
