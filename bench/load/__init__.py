"""The load generator beside its peers, against a server whose own log is the truth."""
