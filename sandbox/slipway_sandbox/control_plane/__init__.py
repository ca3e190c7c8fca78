"""A control plane of somebody else's, named by a kubeconfig, behind the sandbox's own front door."""
