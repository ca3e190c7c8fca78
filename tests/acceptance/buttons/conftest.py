"""A Prefect server and a worker of this folder's own, with stand-ins for the tasks of deploy and rollback."""

from tests.support.platform_fixtures import database, platform, started, webhook

__all__ = ["database", "platform", "started", "webhook"]
