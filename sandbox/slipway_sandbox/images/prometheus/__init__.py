"""Prometheus with its operator's discovery, as one pod program: scrapes pods, answers queries, keeps samples in memory."""
