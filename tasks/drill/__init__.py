"""Drills: each promise of a release is made to act, and what was seen is kept. It works with the stages, which know nothing of it."""
