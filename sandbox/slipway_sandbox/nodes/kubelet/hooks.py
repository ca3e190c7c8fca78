"""Lifecycle hooks: exec, httpGet and sleep handlers of postStart and preStop."""

from __future__ import annotations

import asyncio

from slipway_sandbox.apiclient import Object
from slipway_sandbox.nodes.kubelet.probes import Prober


async def run_handler(handler: Object, prober: Prober, *, timeout: float) -> bool:
    """Whether the hook did its work within `timeout` seconds; a sleep cut short by it counts as done."""
    if timeout <= 0:
        return True  # the grace period is already over: the kubelet runs no hook either
    if "sleep" in handler:
        await asyncio.sleep(min(float(handler["sleep"]["seconds"]), timeout))
        return True
    done, _ = await prober.ask(handler, timeout)
    return done
