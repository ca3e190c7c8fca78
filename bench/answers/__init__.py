"""How often the proof of answers blocks what was altered, and lets through what was not, with a real vLLM on this machine's CPU."""
