"""Load balancers that the AWS Load Balancer Controller makes: what they listen on is read from ELB, TLS by ACM's certificates."""

from __future__ import annotations

import ssl
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.apiclient import Object
from slipway_sandbox.nodes.platform import Platform

CLASS = "service.k8s.aws/nlb"
# How the controller's stand-in says which load balancer it has made, and names the state of its listeners. On AWS the load balancer
# has a name of its own there; here it has an address of the sandbox, which no DNS knows.
MADE, STATE = "slipway.sandbox/load-balancer", "slipway.sandbox/listeners"
# of AWS, and of a certificate that nobody has imported
UNREAD = (BotoCoreError, ClientError, OSError)
Listening = dict[int, ssl.SSLContext | None]  # by port; None: TCP


class LoadBalancers:
    """The listeners of each Service's load balancer, read again when the controller has changed them."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._known: dict[str, tuple[str, Listening]] = {}  # ARN -> state, listeners

    async def is_made(self, service: Object) -> bool:
        """Whether a Service has a load balancer by now: others than the controller's get one at once. Raises UNREAD."""
        if service["spec"].get("loadBalancerClass") is None:
            return True
        arn, state = _said(service)
        if not arn:
            return False
        if self._known.get(arn, ("", {}))[0] != state:
            self._known[arn] = (state, await self._read(arn))
        return True

    def known(self, service: Object) -> Listening | None:
        """What its load balancer listens on; None where the controller has nothing to do with it."""
        if service["spec"].get("loadBalancerClass") is None:
            return None
        return self._known.get(_said(service)[0], ("", {}))[1]

    async def _read(self, arn: str) -> Listening:
        aws = self._platform.aws
        found = await aws.call(aws.elbv2.describe_listeners, LoadBalancerArn=arn)
        return {int(each["Port"]): self._tls(each) for each in found["Listeners"]}

    def _tls(self, listener: dict[str, Any]) -> ssl.SSLContext | None:
        if listener["Protocol"] != "TLS":
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        arn = str(listener["Certificates"][0]["CertificateArn"])
        context.load_cert_chain(self._platform.settings.certificate_file(arn))
        return context


def _said(service: Object) -> tuple[str, str]:
    notes = service["metadata"].get("annotations") or {}
    return str(notes.get(MADE, "")), str(notes.get(STATE, ""))
