"""Proof of answers: what a release answers to golden prompts, held against what the proven release answered."""
