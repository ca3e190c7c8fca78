"""The EKS Pod Identity agent: pods whose service account has an association get its role's credentials."""

from __future__ import annotations

import logging
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.apiclient import Object
from slipway_sandbox.nodes.addons import POD_IDENTITY_AGENT, Addons
from slipway_sandbox.nodes.aws import Aws

log = logging.getLogger(__name__)

CREDENTIALS_PATH = "/v1/credentials"  # the real agent's, at http://169.254.170.23


@dataclass(frozen=True)
class _Holder:
    namespace: str
    service_account: str
    pod: str


class PodIdentityAgent:
    """Answers AWS SDKs' container credential requests on a loopback port, by the token each pod was given.

    Without the agent's add-on nobody answers there: pods with an association still get the variables (those come from
    the control plane), and their requests are cut off.
    """

    def __init__(self, aws: Aws, cluster: str) -> None:
        self._aws, self._cluster = aws, cluster
        self._addons = Addons(aws, cluster)
        self._holders: dict[str, _Holder] = {}
        self._tokens: dict[str, str] = {}  # pod uid -> token
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get(CREDENTIALS_PATH, self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def role(self, namespace: str, service_account: str) -> str | None:
        """The associated role's ARN, asked of EKS each time. Raises botocore's errors."""
        listed = await self._aws.call(
            self._aws.eks.list_pod_identity_associations,
            clusterName=self._cluster,
            namespace=namespace,
            serviceAccount=service_account,
        )
        if not listed["associations"]:
            return None
        described = await self._aws.call(
            self._aws.eks.describe_pod_identity_association,
            clusterName=self._cluster,
            associationId=listed["associations"][0]["associationId"],
        )
        return described["association"]["roleArn"]

    async def variables(self, pod: Object, folder: Path) -> dict[str, str]:
        """What EKS's webhook adds to a pod with an association; its token goes to `folder`. Without one, nothing."""
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName") or "default"
        try:
            associated = await self.role(metadata["namespace"], account)
        except (ClientError, BotoCoreError) as error:
            log.warning("pod %s gets no pod identity: %s", metadata["name"], error)
            return {}
        if associated is None:
            return {}
        self.forget(metadata["uid"])
        token = secrets.token_urlsafe(32)
        self._holders[token] = _Holder(metadata["namespace"], account, metadata["name"])
        self._tokens[metadata["uid"]] = token
        file = folder / "eks-pod-identity-token"
        file.touch(mode=0o600)
        file.write_text(token)
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self._port}{CREDENTIALS_PATH}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
        }

    def forget(self, pod_uid: str) -> None:
        """The pod ended: its token is worth nothing."""
        if token := self._tokens.pop(pod_uid, None):
            del self._holders[token]

    async def _answer(self, request: web.Request) -> web.Response:
        holder = self._holders.get(request.headers.get("Authorization", ""))
        if holder is None:
            return web.Response(status=401, text="the service account token is unknown or expired")
        try:
            if not await self._addons.works(POD_IDENTITY_AGENT):
                assert request.transport is not None
                request.transport.abort()
                return web.Response(status=503)
            role = await self.role(holder.namespace, holder.service_account)
            if role is None:
                return web.Response(
                    status=404,
                    text="(ResourceNotFoundException): No pod identity association found for "
                    f"{holder.namespace}/{holder.service_account}",
                )
            return web.json_response(await self._assume(role, holder))
        except ClientError as error:
            return web.Response(status=403, text=str(error))
        except BotoCoreError as error:
            return web.Response(status=503, text=str(error))

    async def _assume(self, role: str, holder: _Holder) -> dict[str, Any]:
        """Session credentials in the form SDKs' container provider reads."""
        session = f"eks-{self._cluster}-{holder.pod}"[:27] + f"-{uuid.uuid4()}"
        answer = await self._aws.call(self._aws.sts.assume_role, RoleArn=role, RoleSessionName=session[:64])
        credentials = answer["Credentials"]
        return {
            "AccessKeyId": credentials["AccessKeyId"],
            "SecretAccessKey": credentials["SecretAccessKey"],
            "Token": credentials["SessionToken"],
            "AccountId": role.split(":")[4],
            "Expiration": credentials["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
