"""A chat page for one model, served on loopback."""
