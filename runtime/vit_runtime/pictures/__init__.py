"""Pictures: whatever is an image, prepared to the byte as the reference does it, and found in folders."""
