"""EKS's bearer tokens: a presigned STS GetCallerIdentity URL in base64, made here and checked here.

Format: github.com/kubernetes-sigs/aws-iam-authenticator (pkg/token). The check does what the authenticator does: look
at the URL, then send it to STS, which verifies the signature (with `x-k8s-aws-id` as a signed header) and says whose
it is; then the cluster's access entries say who that is in Kubernetes.

`python -m slipway_sandbox.aws.tokens CLUSTER` prints an ExecCredential for a kubeconfig; SLIPWAY_SANDBOX_ROOT names the sandbox.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit
from xml.etree import ElementTree

import aiohttp
from yarl import URL

from slipway_sandbox.kubernetes.errors import Unauthorized
from slipway_sandbox.settings import SECRET_KEY, Settings

PREFIX = "k8s-aws-v1."
CLUSTER_HEADER = "x-k8s-aws-id"
LIFETIME = timedelta(minutes=15)
SKEW = timedelta(minutes=5)
SIGN_SECONDS = 60
CACHED = timedelta(seconds=10)  # how long a verdict holds: an access entry taken away acts within it
CACHE_SIZE = 1024
STS_HOST = re.compile(r"sts(\.[a-z0-9-]+)?\.amazonaws\.com")
PARAMETERS = {
    "Action",
    "Version",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
}


@dataclass(frozen=True)
class Presigned:
    """A token's URL, looked at but not yet verified."""

    host: str
    query: str
    expires: datetime


_verdicts: OrderedDict[tuple[str, str, str], tuple[str, datetime]] = OrderedDict()


def token_for(cluster: str, settings: Settings) -> str:
    """A bearer token of the credentials the sandbox is used with for one cluster, good for 15 minutes."""
    # 9 MB that the region, which only checks tokens, does without.
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = f"{settings.aws_url}/?Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("GET", url, headers={CLUSTER_HEADER: cluster})
    signer = SigV4QueryAuth(
        Credentials(settings.user_key, SECRET_KEY), "sts", settings.region, expires=SIGN_SECONDS
    )
    signer.add_auth(request)
    return PREFIX + base64.urlsafe_b64encode(str(request.url).encode()).decode().rstrip("=")


async def authenticate_eks(token: str | None, *, cluster: str, settings: Settings, now: datetime) -> str:
    """The Kubernetes user name behind a token. Raises Unauthorized with the reason.

    Verdicts are kept for 10 seconds, so that not every API request is two calls to AWS.
    """
    if not token:
        raise Unauthorized("no bearer token")
    key = (str(settings.root), cluster, token)
    known = _verdicts.get(key)
    if known and now < known[1]:
        return known[0]
    presigned = look_at(token, settings=settings, now=now)
    arn = await _caller(presigned, cluster, settings)
    user = await _user(arn, cluster, settings)
    _verdicts[key] = (user, min(now + CACHED, presigned.expires))
    _verdicts.move_to_end(key)
    while len(_verdicts) > CACHE_SIZE:
        _verdicts.popitem(last=False)
    return user


def look_at(token: str, *, settings: Settings, now: datetime) -> Presigned:
    """What can be judged without asking anyone: form, host, action, age. Raises Unauthorized."""
    if not token.startswith(PREFIX):
        raise Unauthorized(f"the token does not start with {PREFIX}")
    text = token.removeprefix(PREFIX)
    try:
        url = urlsplit(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode())
        pairs = parse_qsl(url.query, strict_parsing=True)
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise Unauthorized(f"the token is no presigned URL: {error}") from error
    query = dict(pairs)
    _check_url(url, query, len(pairs), settings)
    try:
        signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        seconds = int(query["X-Amz-Expires"])
    except (KeyError, ValueError) as error:
        raise Unauthorized(f"X-Amz-Date or X-Amz-Expires is missing or malformed: {error}") from error
    if not 0 <= seconds <= LIFETIME.total_seconds():
        raise Unauthorized(f"X-Amz-Expires is {seconds}, more than 900 seconds")
    if now > signed + LIFETIME:
        raise Unauthorized(
            f"the token expired: it was signed at {signed:%H:%M:%S}, and tokens live 15 minutes"
        )
    if now < signed - SKEW:
        raise Unauthorized("the token was signed in the future")
    return Presigned(url.netloc, url.query, signed + LIFETIME)


def _check_url(url: SplitResult, query: dict[str, str], given: int, settings: Settings) -> None:
    own = url.scheme == "http" and url.netloc == urlsplit(settings.aws_url).netloc
    if not own and not (url.scheme == "https" and STS_HOST.fullmatch(url.netloc)):
        raise Unauthorized(f"the token's host {url.scheme}://{url.netloc} is not STS")
    if url.path not in ("", "/"):
        raise Unauthorized(f"unexpected path {url.path!r} in the token's URL")
    if len(query) != given:
        raise Unauthorized("a query parameter occurs twice in the token's URL")
    if unknown := query.keys() - PARAMETERS:
        raise Unauthorized(f"unexpected query parameters in the token's URL: {', '.join(sorted(unknown))}")
    if query.get("Action") != "GetCallerIdentity":
        raise Unauthorized("the token's action is not GetCallerIdentity")
    if not {"host", CLUSTER_HEADER} <= set(query.get("X-Amz-SignedHeaders", "").split(";")):
        raise Unauthorized(f"the token does not sign the {CLUSTER_HEADER} header")


async def _caller(presigned: Presigned, cluster: str, settings: Settings) -> str:
    """The ARN STS answers. The signature holds only if the token was made for this cluster."""
    status, text = await _get(
        f"{settings.aws_url}/?{presigned.query}", {"Host": presigned.host, CLUSTER_HEADER: cluster}
    )
    if status != 200:
        code = re.search(r"<Code>(.*?)</Code>", text)
        raise Unauthorized(
            f"STS refused the token for cluster {cluster}: {code[1] if code else status} "
            "(a wrong secret, an expired signature, or a token made for another cluster)"
        )
    found = ElementTree.fromstring(text).find(".//{*}Arn")  # noqa: S314  from the sandbox's own STS
    if found is None or not found.text:
        raise Unauthorized("STS named no caller")
    return found.text


async def _user(arn: str, cluster: str, settings: Settings) -> str:
    """The user name the caller's access entry gives. Raises Unauthorized where there is none."""
    status, text = await _get(f"{settings.aws_url}/slipway/access-entries/{quote(cluster, safe='')}", {})
    if status != 200:
        raise Unauthorized(f"the cluster {cluster} does not exist")
    name, session = _role_and_session(arn)
    for entry in json.loads(text)["entries"]:
        principal, user = str(entry["principalArn"]), str(entry["username"])
        if principal == arn:
            return user
        if name and ":role/" in principal and principal.rsplit("/", 1)[1] == name:
            return user.replace("{{SessionName}}", session).replace("{{SessionNameRaw}}", session)
    raise Unauthorized(f"{arn} has no access entry in cluster {cluster}")


def _role_and_session(arn: str) -> tuple[str, str]:
    found = re.search(r":assumed-role/([^/]+)/(.+)$", arn)
    return (found[1], found[2]) if found else ("", "")


async def _get(url: str, headers: dict[str, str]) -> tuple[int, str]:
    """Raises Unauthorized where AWS cannot be reached: a token nobody can check is not accepted."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(URL(url, encoded=True), headers=headers) as response,
        ):
            return response.status, await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unauthorized(f"AWS cannot be asked who the token belongs to: {error}") from error


def exec_credential(cluster: str, settings: Settings, now: datetime) -> dict[str, Any]:
    """What `kubectl` expects of an exec plugin; it asks again a minute before the token ends."""
    expires = now + LIFETIME - timedelta(minutes=1)
    return {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "spec": {},
        "status": {
            "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "token": token_for(cluster, settings),
        },
    }


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m slipway_sandbox.aws.tokens CLUSTER")
    print(json.dumps(exec_credential(sys.argv[1], Settings.from_environment(), datetime.now(UTC))))


if __name__ == "__main__":
    main()
