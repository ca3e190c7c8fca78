"""What an environment's instances have cost: a meter of their seconds, and what traffic made of them."""
