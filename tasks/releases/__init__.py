"""The ledger of releases: what serves, what served before, what is being rolled out, and what proved it."""
