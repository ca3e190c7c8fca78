"""Stand-in for Prometheus and its operator: discovers and scrapes pods, answers queries, keeps samples in memory."""
