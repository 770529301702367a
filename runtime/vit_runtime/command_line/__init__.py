"""What the command lines share: how they print, where results go, and an artifact in words."""
