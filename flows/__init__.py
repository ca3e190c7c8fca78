"""The runbooks: one file a flow, read from top to bottom as what happens."""
