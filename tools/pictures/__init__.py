"""The README's pictures, made by one command: `python -m tools.pictures`."""
