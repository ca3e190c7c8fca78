"""A deploy and a rollback whose tasks touch a folder and not AWS, for a real worker to run."""

FLOWS = ("deploy", "rollback", "recover", "idle", "promote", "teardown")
