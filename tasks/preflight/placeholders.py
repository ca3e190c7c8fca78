"""What of the example environments is still in the file: accounts, buckets and networks that nobody has. Pure."""

from __future__ import annotations

import re

from tasks.preflight.rows import Row
from tasks.records.environment import Environment

# environments/staging.yaml and production.yaml: AWS's own example accounts and the networks of RFC 5737
ACCOUNTS = ("111122223333", "444455556666")
BUCKETS = "example-slipway-"
NETWORKS = re.compile(r"^(192\.0\.2|198\.51\.100|203\.0\.113)\.")


def placeholders(environment: Environment) -> list[str]:
    """`setting: value` of each that was left as the example has it."""
    cluster, storage = environment.cluster, environment.storage
    accounts = {
        "account": [environment.account or ""],
        "cluster.admin_principal_arns": cluster.admin_principal_arns,
        "storage.reader_arns": storage.reader_arns,
    }
    found = [
        f"{setting}: {value}"
        for setting, values in accounts.items()
        for value in values
        if any(account in value for account in ACCOUNTS)
    ]
    buckets = {"storage.model_bucket": storage.model_bucket, "storage.state_bucket": storage.state_bucket}
    found += [f"{setting}: {name}" for setting, name in buckets.items() if name.startswith(BUCKETS)]
    return found + [
        f"cluster.public_access_cidrs: {network}"
        for network in cluster.public_access_cidrs
        if NETWORKS.match(network)
    ]


def judge_placeholders(environment: Environment) -> Row:
    """The row: one value left is enough to fail, and AWS would say so less plainly."""
    if found := placeholders(environment):
        return Row(
            "fail",
            f"left from the example: {'; '.join(found)}",
            f"put your own values in environments/{environment.name}.yaml",
        )
    return Row("ok", "no value of the examples is left")
