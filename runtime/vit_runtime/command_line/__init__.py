"""Code that the command lines share: how they print, where results go, and how artifacts read in words."""
