"""Narrow doors to what is outside: AWS, Kubernetes, Prometheus, and the executables terraform and helm."""
