"""Signed evidence of a release: an in-toto statement in a DSSE envelope, verified without an account or a network."""
