"""Access to AWS, Kubernetes and Prometheus, and running terraform and helm."""
