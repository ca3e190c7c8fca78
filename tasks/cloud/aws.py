"""Make boto3 clients with deadlines; turn AWS's refusals into errors of tasks/records/errors.py."""

from __future__ import annotations

import base64
import functools
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    WaiterError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.signers import RequestSigner

from tasks.cloud.policies import give_right
from tasks.records.errors import (
    AccessDenied,
    CapacityUnavailable,
    CloudError,
    CloudUnavailable,
    QuotaExceeded,
)
from tasks.records.redacted import redacted

_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "403",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
}
# "Ask more slowly", in each service's words; boto3 has retried by then.
_SLOW_DOWN = {
    "SlowDown",
    "503",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "RequestTimeout",
}
_CAPACITY = {"InsufficientInstanceCapacity", "InsufficientCapacity"}
_QUOTA = {"VcpuLimitExceeded", "LimitExceeded", "ResourceLimitExceeded", "ServiceQuotaExceededException"}

# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html#access-denied-identity-based-policy-examples
_NOT_AUTHORIZED = re.compile(r"not authorized to perform: ([\w-]+:\w+) on resource: \"?([^\s\"]+)")
# EKS, of a service-linked role: https://github.com/terraform-aws-modules/terraform-aws-eks/issues/823
_NO_LOOK = re.compile(r"missing permissions for '([\w-]+:\w+)'")

# one line for the retries that several threads meet within this time
SAID_AGAIN_SECONDS = 1.0
# botocore's own count, in the header amz-sdk-request
_ATTEMPT = re.compile(r"attempt=(\d+); max=(\d+)")
# the URL's lifetime; EKS accepts the token for 15 minutes from X-Amz-Date
EKS_TOKEN_SECONDS = 60
EKS_TOKEN_REFRESH_SECONDS = 600.0


class Aws:
    """boto3 clients of one region and set of credentials, made once each and safe to share between threads."""

    def __init__(self, region: str, profile: str | None = None) -> None:
        self.region = region
        with aws_errors("reading the AWS configuration"):
            self.session: Any = boto3.session.Session(region_name=region, profile_name=profile)
        self._clients: dict[tuple[str, str], Any] = {}

    @functools.cached_property
    def account(self) -> str:
        """The account of the credentials. Raises AccessDenied, CloudUnavailable."""
        with aws_errors("asking AWS who we are"):
            return str(self.client("sts").get_caller_identity()["Account"])

    def client(self, service: str) -> Any:
        """A boto3 client: 10 s to connect, 60 s to read, 5 more attempts with the standard back-off.

        S3 is told with every call that the bucket must belong to this account.
        """
        if service == "s3":
            return self.s3_of("")
        if (service, "") not in self._clients:
            self._clients[service, ""] = self._make(service)
        return self._clients[service, ""]

    def s3_of(self, account: str) -> Any:
        """An S3 client for buckets of `account` alone ("": of the credentials' own): S3 answers 403 for any other."""
        if ("s3", account) not in self._clients:
            s3 = self._make("s3")
            expect_owner(s3, lambda: account or self.account)
            self._clients["s3", account] = s3
        return self._clients["s3", account]

    def _make(self, service: str) -> Any:
        config = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 5},
            max_pool_connections=64,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # every part carries its CRC64NVME; hashing the payload for the signature too would halve the rate
            s3={"payload_signing_enabled": False},
        )
        return self.session.client(service, config=config)

    def eks_token(self, cluster: str) -> str:
        """A bearer token for an EKS cluster: a presigned STS GetCallerIdentity URL that names the cluster.

        Format: https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
        """
        sts = self.client("sts")
        signer = RequestSigner(
            sts.meta.service_model.service_id,
            self.region,
            "sts",
            "v4",
            self.session.get_credentials(),
            self.session.events,
        )
        url = signer.generate_presigned_url(
            {
                "method": "GET",
                "url": f"{sts.meta.endpoint_url}/?Action=GetCallerIdentity&Version=2011-06-15",
                "body": {},
                "headers": {"x-k8s-aws-id": cluster},
                "context": {},
            },
            region_name=self.region,
            expires_in=EKS_TOKEN_SECONDS,
            operation_name="",
        )
        return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def expect_owner(s3: Any, account: Callable[[], str]) -> None:
    """Name the bucket's owner in every call of an S3 client; CreateBucket and ListBuckets have no such parameter.

    S3 answers 403 for a bucket of another account, even where it may be read or written:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
    """

    def name_owner(params: dict[str, Any], model: Any, **_: Any) -> None:
        if "ExpectedBucketOwner" in model.input_shape.members:
            params.setdefault("ExpectedBucketOwner", account())

    s3.meta.events.register("before-parameter-build.s3", name_owner)


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """Raise boto3's errors inside the block as Slipway's. `doing` begins the message: "reading the bucket"."""
    try:
        yield
    except NoCredentialsError as error:
        raise AccessDenied(
            f"{doing}: there are no AWS credentials", next_command="aws sts get-caller-identity"
        ) from error
    # no connection, none in time, or one that broke off
    except (BotoConnectionError, HTTPClientError) as error:
        raise CloudUnavailable(
            f"{doing}: AWS cannot be reached",
            evidence=[redacted(str(error))],
            next_command="aws sts get-caller-identity; once that answers, the same command again",
        ) from error
    except ClientError as error:
        raise from_client_error(doing, error) from error
    except WaiterError:
        raise  # only the caller knows what it waited for
    except BotoCoreError as error:
        raise CloudError(f"{doing}: {redacted(str(error))}") from error


@contextmanager
def told_retries(
    client: Any, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Report each retry botocore makes inside the block (it retries silently), one line a second for each operation.

    Its retry quota may end the attempts early: https://docs.aws.amazon.com/boto3/latest/guide/retries.html
    """
    service = client.meta.service_model.service_id
    # an attempt and the one before it run in the same thread
    here = threading.local()
    # bounded by the service's operations times its attempts
    said: dict[tuple[str, str], float] = {}

    def ended(response: Any, caught_exception: Any, **_: Any) -> None:
        here.why = _why_again(response, caught_exception)

    def begins(request: Any, event_name: str, **_: Any) -> None:
        header = request.headers.get("amz-sdk-request", b"")
        found = _ATTEMPT.search(header.decode() if isinstance(header, bytes) else header)
        why = getattr(here, "why", None)
        if not why or not found or found[1] == "1":
            return
        operation, now = event_name.rpartition(".")[2], clock()
        if now - said.get((operation, found[1]), float("-inf")) >= SAID_AGAIN_SECONDS:
            said[operation, found[1]] = now
            say(f"{service} {operation}: {redacted(why)}: attempt {found[1]} of {found[2]} begins")

    events, name = client.meta.events, f"told-retries-{id(here)}"
    events.register("needs-retry", ended, unique_id=name)
    events.register("before-send", begins, unique_id=f"{name}-send")
    try:
        yield
    finally:
        events.unregister("needs-retry", unique_id=name)
        events.unregister("before-send", unique_id=f"{name}-send")


def _why_again(response: Any, problem: BaseException | None) -> str | None:
    """Why botocore will retry; None where it takes the answer. `response`: (HTTP response, parsed body) or None."""
    if problem is not None:
        return str(problem)
    if response is None:
        return None
    status = response[0].status_code
    code = str(response[1].get("Error", {}).get("Code", ""))
    return f"{status} {code}".rstrip() if status >= 500 or status == 429 or code in _SLOW_DOWN else None


def missing_right(words: str) -> str | None:
    """The action that AWS names as not allowed, first, and on what; None where `words` tell of no denial."""
    if found := _NOT_AUTHORIZED.search(words):
        return f"{found[1]} is not allowed on {found[2]}"
    if found := _NO_LOOK.search(words):
        return f"{found[1]} is not allowed, which EKS needs of its caller"
    return None


def from_client_error(doing: str, error: ClientError) -> CloudError:
    """Choose the error for AWS's code: AccessDenied, QuotaExceeded, CapacityUnavailable or CloudError."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = str(error.response.get("Error", {}).get("Message", ""))
    evidence = [f"{error.operation_name}: {code}: {message}"]
    if missing := missing_right(message):
        return AccessDenied(
            f"{doing}: {missing}", evidence=evidence, next_command=give_right(missing.split()[0])
        )
    if code in _DENIED:
        return AccessDenied(
            f"{doing}: AWS denies {error.operation_name}",
            evidence=evidence,
            next_command="aws sts get-caller-identity, then give that identity the action",
        )
    if code == "NoSuchBucket":
        return CloudError(
            f"{doing}: there is no such bucket",
            evidence=evidence,
            next_command="aws s3 ls, with storage.model_bucket of the environment's file; a deploy makes the bucket it names",
        )
    if code in _CAPACITY:
        return CapacityUnavailable(f"{doing}: AWS has no capacity for it now", evidence=evidence)
    if code in _QUOTA:
        return QuotaExceeded(f"{doing}: a quota is used up", evidence=evidence)
    if code in _SLOW_DOWN:
        return CloudError(
            f"{doing}: AWS goes on refusing {error.operation_name} for now ({code})",
            evidence=evidence,
            next_command="the same command again in a few minutes: it goes on from what is there",
        )
    return CloudError(f"{doing}: {code}", evidence=evidence)


def is_denial(error: ClientError) -> bool:
    """Whether AWS refuses the caller: no right, or no valid credentials."""
    return error_code(error) in _DENIED or missing_right(str(error)) is not None


def is_slow_down(error: ClientError) -> bool:
    """Whether AWS asks to be asked more slowly."""
    return error_code(error) in _SLOW_DOWN


def error_code(error: ClientError) -> str:
    """AWS's error code, such as NoSuchBucket or 404."""
    return str(error.response.get("Error", {}).get("Code", ""))
