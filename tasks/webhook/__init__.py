"""The receiver of the hub's webhook: a service that has new commits of followed models looked at by runs of slipway-watch."""
