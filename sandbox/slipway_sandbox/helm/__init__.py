"""`helm` for machines that have none: Helm 4's own SDK (helm-python-sdk) behind the flags of its command line.

Not here: repositories (`helm repo`), plugins, `get`, `show`, `lint`, `package`, `push`, `test`, post-renderers.
"""
