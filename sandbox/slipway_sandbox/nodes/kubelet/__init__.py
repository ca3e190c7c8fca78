"""The node agent: runs the pods bound to one node as local process groups and reports on them."""
