"""Two releases side by side: the same prompts asked of both in turn, before traffic moves."""
