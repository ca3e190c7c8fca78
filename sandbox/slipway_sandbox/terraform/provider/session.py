"""The connection to AWS: clients by service, the provider's default tags, waits with a deadline."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from slipway_sandbox.terraform.provider.schema import State

POLL_SECONDS = 0.1
RELEASE_SECONDS = 20 * 60.0  # hashicorp/aws's own patience with a subnet something still depends on
# What plans and applies of the roots ask: a test holds it against the calls to `client`.
SERVICES = ("ec2", "eks", "iam", "kms", "s3", "secretsmanager", "sts")
T = TypeVar("T")


class WaitFailed(RuntimeError):
    """A resource ended in a state it cannot leave, or did not get where it should in time."""


class Session:
    """One configured provider. Clients are made on first use; botocore's are safe to share between threads."""

    def __init__(self, config: State, *, sleep: Callable[[float], None] | None = None) -> None:
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        self._boto: Any = None
        self._account: str | None = None
        self.stopped = threading.Event()
        self._sleep = sleep or (lambda duration: void(self.stopped.wait(duration)))
        default_tags = config.get("default_tags") or []
        self.default_tags: dict[str, str] = dict((default_tags[0].get("tags") or {}) if default_tags else {})
        region = config.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not region:
            raise ValueError("no AWS region: set `region` in the provider block, or AWS_REGION")
        self.region: str = region

    def client(self, service: str, region: str | None = None) -> Any:
        """The boto3 client of a service; its endpoint comes from AWS_ENDPOINT_URL, as everywhere."""
        key = (service, region or self.region)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._make_client(*key)
            return self._clients[key]

    def _make_client(self, service: str, region: str) -> Any:
        # here, because `terraform validate` needs a schema only, and botocore takes long to import
        from botocore.config import Config

        if self._boto is None:
            self._boto = _boto_session()
        options = Config(retries={"mode": "standard", "max_attempts": 8}, max_pool_connections=32)
        client = self._boto.client(service, region_name=region, config=options)
        client.meta.events.register("after-call", _note_service)
        return client

    @property
    def account(self) -> str:
        """The account's id, asked once."""
        if self._account is None:
            self._account = str(self.client("sts").get_caller_identity()["Account"])
        return self._account

    def arn(self, service: str, rest: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{rest}"

    def wait(
        self, what: str, status: Callable[[], str | None], wanted: Iterable[str | None], within: float
    ) -> None:
        """Poll until the status is wanted; None stands for gone. `within` in seconds.

        Raises WaitFailed when it ends in a FAILED state, the deadline passes, or Terraform asks to stop.
        """
        goals = set(wanted)
        deadline = time.monotonic() + within
        while (now := status()) not in goals:
            if now is None or "FAILED" in now.upper():
                raise WaitFailed(f"waiting for {what}: unexpected state '{now}', wanted target {goals}")
            if self.stopped.is_set():
                raise WaitFailed(f"waiting for {what}: interrupted in state '{now}'")
            if time.monotonic() > deadline:
                raise WaitFailed(f"waiting for {what}: timeout after {within:.0f} s in state '{now}'")
            self._sleep(POLL_SECONDS)

    def delete(self, call: Callable[[], object], within: float = RELEASE_SECONDS) -> None:
        """Ask until AWS no longer says that something depends on it; what is gone already is no error.

        hashicorp/aws asks VPCs, subnets, gateways and security groups again in the same way: nodes and load balancers
        let go of them a little later. `within` in seconds; after it, and when Terraform asks to stop, AWS's error passes.
        """
        deadline = time.monotonic() + within
        while True:
            try:
                unless_gone(call)
            except Exception as error:
                late = self.stopped.is_set() or time.monotonic() > deadline
                if error_code(error) != "DependencyViolation" or late:
                    raise
                self._sleep(POLL_SECONDS)
            else:
                return


@functools.cache
def _models() -> Any:
    """botocore's loader of service descriptions, and what it has loaded: one a process."""
    from botocore.loaders import create_loader

    return create_loader()


def _boto_session() -> Any:
    import boto3
    from botocore.session import Session as CoreSession

    core = CoreSession()
    core.register_component("data_loader", _models())
    return boto3.session.Session(botocore_session=core)


def load_models() -> None:
    """Load the descriptions of the services that every plan asks, before this process forks."""
    session = _boto_session()
    for service in SERVICES:
        session.client(
            service, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
        )


def void(_value: object) -> None:
    return None


def error_code(error: BaseException) -> str:
    """AWS's code of an error ("" when it is none of AWS's)."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def unless_gone(call: Callable[[], T], *codes: str) -> T | None:
    """The call's answer; None when AWS says the thing does not exist. Other errors pass."""
    try:
        return call()
    except Exception as error:
        code = error_code(error)
        if code and any(mark in code for mark in codes or ("NotFound", "NoSuch")):
            return None
        raise


def _note_service(parsed: dict[str, Any], model: Any, **_others: Any) -> None:
    """Into an error's metadata: whose it is, and whether the service's model knows its code. botocore tells neither."""
    if "Error" in parsed:
        known = {shape.metadata.get("error", {}).get("code", shape.name) for shape in model.error_shapes}
        parsed["ResponseMetadata"] |= {
            "Service": model.service_model.service_id,
            "Modeled": parsed["Error"].get("Code") in known,
        }


def explain(error: BaseException) -> str:
    """An error as hashicorp/aws words it, so that what reads its diagnostics finds service, operation, status and code."""
    response = getattr(error, "response", None)
    operation = getattr(error, "operation_name", None)
    if not response or not operation:
        return f"{type(error).__name__}: {error}"
    meta, details = response.get("ResponseMetadata", {}), response.get("Error", {})
    called = f"{meta['Service']}: {operation}" if meta.get("Service") else operation
    host = f"HostID: {meta['HostId']}, " if meta.get("HostId") else ""  # S3's
    kind = "" if meta.get("Modeled") else "api error "
    return (
        f"operation error {called}, https response error StatusCode: {meta.get('HTTPStatusCode')}, "
        f"RequestID: {meta.get('RequestId', '')}, {host}{kind}{details.get('Code')}: {details.get('Message')}"
    )
