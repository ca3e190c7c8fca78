"""`helm` for machines that have none: Helm 4's own SDK (helm-python-sdk) behind the flags of its command line.

Here: `install`, `upgrade`, `history`, `rollback` and `uninstall`. Everything else is refused.
"""
