"""A pod's volumes as folders: claims lead to their volume's folder, everything else lives in the pod's own folder."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from slipway_sandbox.apiclient import ApiClient, Object
from slipway_sandbox.nodes.kubelet.environment import ConfigError


class MountError(Exception):
    """A volume cannot be set up now. `reason` is the event's, e.g. FailedMount or FailedAttachVolume."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class Attacher(Protocol):
    """Attaches persistent volumes to nodes; `slipway_sandbox.nodes.attachments` is one."""

    async def attach(self, volume: Object, node: str, pod: Object) -> Path:
        """The volume's folder, once it may be used on `node`. Raises MountError."""

    async def release(self, pod_uid: str) -> None:
        """The pod no longer uses any volume."""


class Volumes:
    """Sets up one pod's volumes below `folder`."""

    def __init__(self, client: ApiClient, pod: Object, *, folder: Path, attacher: Attacher) -> None:
        self._client, self._pod = client, pod
        self._folder, self._attacher = folder, attacher
        self._paths: dict[str, Path] = {}

    async def set_up(self) -> None:
        """Make every volume ready. May be called again after a MountError, and does only what is missing."""
        for volume in self._pod["spec"].get("volumes") or []:
            if volume["name"] not in self._paths:
                self._paths[volume["name"]] = await self._one(volume)

    async def tear_down(self) -> None:
        """Give claims back and delete what belonged to the pod."""
        await self._attacher.release(self._pod["metadata"]["uid"])
        shutil.rmtree(self._folder, ignore_errors=True)

    def mounts(self, container: Object) -> dict[str, Path]:
        """Mount path -> real path for one container. Raises ConfigError for a subPath outside its volume."""
        found: dict[str, Path] = {}
        for mount in container.get("volumeMounts") or []:
            path = self._paths.get(mount["name"])
            if path is None:
                raise ConfigError(
                    f'cannot find volume "{mount["name"]}" to mount into container "{container["name"]}"'
                )
            if below := mount.get("subPath"):
                if Path(below).is_absolute() or ".." in Path(below).parts:
                    raise ConfigError(f'failed to prepare subPath for volumeMount "{mount["name"]}"')
                path = path / below
                if not path.exists():
                    path.mkdir(parents=True)
            found[mount["mountPath"]] = path
        return found

    async def _one(self, volume: Object) -> Path:
        name = volume["name"]
        folder = self._folder / "volumes" / str(name)
        if "persistentVolumeClaim" in volume:
            return await self._claim(volume["persistentVolumeClaim"]["claimName"])
        if "ephemeral" in volume:
            return await self._claim(f"{self._pod['metadata']['name']}-{name}", own=True)
        sources = volume["projected"].get("sources") or [] if "projected" in volume else [volume]
        if "emptyDir" not in volume:
            contents: dict[str, bytes] = {}
            for source in sources:
                contents |= await self._files(name, source)
            kind = next((k for k in ("projected", "configMap", "secret") if k in volume), "")
            _write(folder, contents, (volume.get(kind) or {}).get("defaultMode", 0o644))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def _claim(self, name: str, *, own: bool = False) -> Path:
        """`own`: a generic ephemeral volume's, which must be the pod's and nobody else's."""
        namespace = self._pod["metadata"]["namespace"]
        claim = await self._client.get(self._client.path("v1", "persistentvolumeclaims", namespace, name))
        if claim is None:
            raise MountError("FailedMount", f'persistentvolumeclaim "{name}" not found')
        owners = claim["metadata"].get("ownerReferences") or []
        if own and not any(o["uid"] == self._pod["metadata"]["uid"] for o in owners):
            why = (
                f"PVC {namespace}/{name} was not created for pod {namespace}/{self._pod['metadata']['name']}"
            )
            raise MountError(
                "FailedMount", f"error processing PVC {namespace}/{name}: {why} (pod is not owner)"
            )
        volume_name = claim["spec"].get("volumeName")
        if not volume_name or (claim.get("status") or {}).get("phase") != "Bound":
            raise MountError("FailedMount", f"error processing PVC {namespace}/{name}: PVC is not bound")
        volume = await self._client.get(self._client.path("v1", "persistentvolumes", None, volume_name))
        if volume is None:
            raise MountError("FailedMount", f'persistentvolume "{volume_name}" not found')
        return await self._attacher.attach(volume, self._pod["spec"]["nodeName"], self._pod)

    async def _files(self, volume: str, source: Object) -> dict[str, bytes]:
        """File name -> content of one configMap or secret source."""
        if "configMap" in source:
            return await self._keys(volume, "configmaps", "name", source["configMap"])
        if "secret" in source:
            secret = source["secret"]
            return await self._keys(
                volume, "secrets", "secretName" if "secretName" in secret else "name", secret
            )
        kinds = ", ".join(sorted(key for key in source if key != "name"))
        raise MountError("FailedMount", f'volume "{volume}": this node supports no {kinds or "such"} volumes')

    async def _keys(self, volume: str, plural: str, name_key: str, source: Object) -> dict[str, bytes]:
        namespace, name = self._pod["metadata"]["namespace"], source[name_key]
        item = await self._client.get(self._client.path("v1", plural, namespace, name))
        singular = plural.removesuffix("s")
        if item is None:
            if source.get("optional"):
                return {}
            raise MountError(
                "FailedMount",
                f'MountVolume.SetUp failed for volume "{volume}" : {singular} "{name}" not found',
            )
        data = _bytes_of(plural, item)
        wanted = source.get("items")
        if not wanted:
            return data
        missing = [entry["key"] for entry in wanted if entry["key"] not in data]
        if missing and not source.get("optional"):
            raise MountError(
                "FailedMount",
                f'MountVolume.SetUp failed for volume "{volume}" : references non-existent {singular} key: {missing[0]}',
            )
        return {entry["path"]: data[entry["key"]] for entry in wanted if entry["key"] in data}


def _bytes_of(plural: str, item: Object) -> dict[str, bytes]:
    if plural == "secrets":
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}
    binary = {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}
    return {**{key: value.encode() for key, value in (item.get("data") or {}).items()}, **binary}


def _write(folder: Path, contents: Mapping[str, bytes], mode: int) -> None:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
