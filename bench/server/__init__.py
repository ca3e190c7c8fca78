"""Prefect's server on Postgres and on SQLite, with a large catalogue and many scheduled runs."""
