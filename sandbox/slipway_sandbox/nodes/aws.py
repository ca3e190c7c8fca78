"""AWS as the nodes need it: boto3 clients of one sandbox, called in a few threads so that the loop never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import boto3
from botocore.config import Config

from slipway_sandbox.memory import give_back
from slipway_sandbox.service_models import read_lean
from slipway_sandbox.settings import Settings

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_eks import EKSClient
    from types_boto3_sts import STSClient

P = ParamSpec("P")
T = TypeVar("T")


class Aws:
    """`await aws.call(aws.ec2.describe_subnets, SubnetIds=[…])`. Raises botocore's own errors."""

    def __init__(self, settings: Settings) -> None:
        read_lean()
        environment = settings.aws_environment()
        self._endpoint = environment["AWS_ENDPOINT_URL"]
        self._session = boto3.Session(
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            region_name=environment["AWS_REGION"],
        )
        # One attempt a call: every caller is a loop that tries again, and a hidden retry would hide a fault.
        self._config = Config(
            retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=20, max_pool_connections=8
        )
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="nodes-aws")

    def _client(self, service: Any) -> Any:
        return self._session.client(service, endpoint_url=self._endpoint, config=self._config)

    @cached_property
    def ec2(self) -> EC2Client:
        client: EC2Client = self._client("ec2")
        return client

    @cached_property
    def eks(self) -> EKSClient:
        client: EKSClient = self._client("eks")
        return client

    @cached_property
    def sts(self) -> STSClient:
        client: STSClient = self._client("sts")
        return client

    @cached_property
    def elbv2(self) -> Any:
        return self._client("elbv2")

    @cached_property
    def events(self) -> Any:
        return self._client("events")

    async def open(self) -> None:
        """Load the clients' service models (some hundred milliseconds of work) before anything waits for them."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._load)

    def _load(self) -> None:
        for service in ("eks", "ec2", "sts"):
            getattr(self, service)
        give_back()

    async def call(self, operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(operation, *args, **kwargs))

    async def finish(self, operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `call`, but a cancelled one ends only when AWS has answered: it is carried out all the same."""
        task = asyncio.create_task(self.call(operation, *args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.gather(task, return_exceptions=True)
            raise

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
