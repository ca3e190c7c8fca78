"""A deploy and a rollback whose tasks touch a folder and not AWS, for a real worker to run."""
