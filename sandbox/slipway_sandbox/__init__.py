"""A region in a process: AWS, the hub, Kubernetes and GPU nodes on loopback. See sandbox/README.md."""
