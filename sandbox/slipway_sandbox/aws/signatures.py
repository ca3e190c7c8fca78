"""SigV4 of presigned requests, verified as STS does before it says who somebody is.

docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape

from slipway_sandbox.aws import identity
from slipway_sandbox.aws.http import Application, Environ, StartResponse
from slipway_sandbox.aws.wire import AwsError, scope_of

SKEW = timedelta(minutes=5)
STS_LIFETIME = timedelta(minutes=15)
EMPTY = hashlib.sha256(b"").hexdigest()


class Sts:
    """moto's STS behind a check of presigned requests; moto itself believes every signature."""

    def __init__(self, moto: Application) -> None:
        self._moto = moto

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "X-Amz-Signature=" not in environ.get("QUERY_STRING", ""):
            return self._moto(environ, start_response)
        try:
            access_key = verify_presigned(environ, datetime.now(UTC))
        except AwsError as error:
            return _refuse(error, start_response)
        # moto finds the caller in the Authorization header alone.
        scope = scope_of(environ)
        assert scope
        environ["HTTP_AUTHORIZATION"] = (
            f"AWS4-HMAC-SHA256 Credential={access_key}/00000000/{scope.region}/sts/aws4_request, "
            "SignedHeaders=host, Signature=verified"
        )
        return self._moto(environ, start_response)


def verify_presigned(environ: Environ, now: datetime) -> str:
    """The access key a presigned request was really signed with. Raises AwsError with STS's codes."""
    pairs = parse_qsl(str(environ["REQUEST_URI"]).partition("?")[2], keep_blank_values=True)
    query = dict(pairs)
    try:
        access_key, date, region, service, _ = query["X-Amz-Credential"].split("/")
        signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        # STS takes a presigned call for 15 minutes whatever X-Amz-Expires says, and EKS tokens rely on it:
        # https://github.com/kubernetes-sigs/aws-iam-authenticator/blob/master/pkg/token/token.go (requestPresignParam)
        lifetime = max(STS_LIFETIME, timedelta(seconds=int(query["X-Amz-Expires"])))
        names = query["X-Amz-SignedHeaders"].split(";")
    except (KeyError, ValueError) as error:
        raise AwsError(
            "IncompleteSignature", f"the query lacks a part of its signature: {error}", 400
        ) from error
    if not signed_at - SKEW <= now <= signed_at + lifetime:
        raise AwsError(
            "SignatureDoesNotMatch", f"Signature expired: {query['X-Amz-Date']} is now out of its time", 403
        )
    owner = identity.identify(access_key)
    if owner is None:
        raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
    if owner.session_token and query.get("X-Amz-Security-Token") != owner.session_token:
        raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
    canonical = "\n".join(
        (
            environ["REQUEST_METHOD"],
            "/",
            "&".join(f"{_quote(k)}={_quote(v)}" for k, v in sorted(pairs) if k != "X-Amz-Signature"),
            "".join(f"{name}:{_header(environ, name)}\n" for name in names),
            ";".join(names),
            EMPTY,
        )
    )
    scope = f"{date}/{region}/{service}/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashed}"
    key = b"AWS4" + owner.secret.encode()
    for part in (date, region, service, "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(key.hex(), query["X-Amz-Signature"]):
        raise AwsError(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method.",
            403,
        )
    return access_key


def _header(environ: Environ, name: str) -> str:
    return " ".join(str(environ.get("HTTP_" + name.upper().replace("-", "_"), "")).split())


def _quote(text: str) -> str:
    return quote(text, safe="-_.~")


def _refuse(error: AwsError, start_response: StartResponse) -> list[bytes]:
    body = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error></ErrorResponse>"
    ).encode()
    start_response(
        f"{error.status} Forbidden", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))]
    )
    return [body]
