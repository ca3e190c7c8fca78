"""The rows about the account and what a first deploy makes in it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.preflight import front_door
from tasks.preflight.cost import judge_ceiling, judge_cost
from tasks.preflight.driver import judge_driver
from tasks.preflight.facts import Facts
from tasks.preflight.network_quota import judge_network
from tasks.preflight.placeholders import judge_placeholders
from tasks.preflight.pull import judge_pull
from tasks.preflight.rows import Row
from tasks.preflight.volume_key import judge_volume_key
from tasks.records.environment import Environment


def account_rows(environment: Environment, image: str, facts: Facts) -> Iterator[tuple[str, Row]]:
    """Name and row of each; `image` is the engine's."""
    extended = facts.support is not None and facts.support.status == "EXTENDED_SUPPORT"
    yield "placeholders", judge_placeholders(environment)
    yield "network quota", judge_network(facts.network)
    yield "volume key", judge_volume_key(facts.volume_key, facts.account)
    yield "image pull", judge_pull(image, facts.image, environment)
    yield "GPU driver", judge_driver(facts.node_release, facts.image)
    yield "front door", front_door.judge(environment, facts.certificate, front_door.today())
    yield "cost", judge_cost(environment, facts.prices, facts.spot, extended=extended)
    if environment.cluster.gpu.price_ceiling is not None:
        yield "price ceiling", judge_ceiling(environment, facts.prices)
