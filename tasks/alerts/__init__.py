"""Alerts on what serves: rules for Prometheus, made from a model's objectives."""
