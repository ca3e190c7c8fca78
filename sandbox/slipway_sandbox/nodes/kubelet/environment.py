"""A container's environment variables: literal, from keys and fields, `$(VAR)` expanded in the API's order."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping

from slipway_sandbox.apiclient import Object

# Reads a ConfigMap's or Secret's data as text: (kind, namespace, name) -> data, or None where it does not exist.
DataReader = Callable[[str, str, str], Awaitable[Mapping[str, str] | None]]
_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")


class ConfigError(Exception):
    """The container cannot be configured; the message is what the kubelet shows for CreateContainerConfigError."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value, or stays where NAME is unknown; `$$` is one `$`."""

    def value(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(value, text)


def decoded_data(kind: str, item: Object) -> dict[str, str]:
    """The text of a ConfigMap's or Secret's keys."""
    if kind == "ConfigMap":
        binary = {
            key: base64.b64decode(value).decode(errors="surrogateescape")
            for key, value in (item.get("binaryData") or {}).items()
        }
        return {**(item.get("data") or {}), **binary}
    return {
        key: base64.b64decode(value).decode(errors="surrogateescape")
        for key, value in (item.get("data") or {}).items()
    }


def service_links(services: Iterable[Object], namespace: str) -> dict[str, str]:
    """The `{NAME}_SERVICE_HOST` family of docker-link variables for the namespace's services with a cluster IP.

    They are why a Service named `vllm` hands vLLM a VLLM_PORT it cannot read. `default/kubernetes` is left out:
    pods here reach the API through KUBECONFIG.
    """
    variables: dict[str, str] = {}
    for service in services:
        metadata, spec = service["metadata"], service["spec"]
        address = spec.get("clusterIP")
        if metadata["namespace"] != namespace or address in (None, "", "None") or not spec.get("ports"):
            continue
        if (namespace, metadata["name"]) == ("default", "kubernetes"):
            continue
        prefix = metadata["name"].upper().replace("-", "_")
        first = spec["ports"][0]
        variables[f"{prefix}_SERVICE_HOST"] = address
        variables[f"{prefix}_SERVICE_PORT"] = str(first["port"])
        variables[f"{prefix}_PORT"] = f"tcp://{address}:{first['port']}"
        for port in spec["ports"]:
            number, protocol = port["port"], port.get("protocol", "TCP")
            stem = f"{prefix}_PORT_{number}_{protocol}"
            variables[stem] = f"{protocol.lower()}://{address}:{number}"
            variables |= {
                f"{stem}_PROTO": protocol.lower(),
                f"{stem}_PORT": str(number),
                f"{stem}_ADDR": address,
            }
            if port.get("name"):
                variables[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(number)
    return variables


def field_value(pod: Object, path: str, status: Mapping[str, str]) -> str:
    """A downward-API field. `status` has what only the kubelet knows yet, e.g. `status.podIP`. Raises ConfigError."""
    metadata = pod["metadata"]
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    known: dict[str, str] = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": pod["spec"]["nodeName"],
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        **status,
    }
    if path not in known:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return known[path]


class EnvironmentBuilder:
    """Resolves one pod's containers."""

    def __init__(self, pod: Object, read: DataReader, status: Mapping[str, str]) -> None:
        self._pod, self._read, self._status = pod, read, status

    async def build(self, container: Object, links: Mapping[str, str]) -> dict[str, str]:
        """The variables `container` declares, after `links`. Raises ConfigError."""
        variables = dict(links)
        for source in container.get("envFrom") or []:
            variables |= await self._from_source(source)
        for entry in container.get("env") or []:
            if "valueFrom" in entry:
                value = await self._from_reference(entry["valueFrom"])
                if value is not None:
                    variables[entry["name"]] = value
            else:
                variables[entry["name"]] = expand(entry.get("value") or "", variables)
        return variables

    async def _from_source(self, source: Object) -> dict[str, str]:
        kind, reference = (
            ("ConfigMap", source["configMapRef"])
            if "configMapRef" in source
            else ("Secret", source["secretRef"])
        )
        data = await self._data(kind, reference)
        prefix = source.get("prefix") or ""
        return {prefix + key: value for key, value in (data or {}).items()}

    async def _from_reference(self, reference: Object) -> str | None:
        if field := reference.get("fieldRef"):
            return field_value(self._pod, field["fieldPath"], self._status)
        if "resourceFieldRef" in reference:
            raise ConfigError("this node supports no resourceFieldRef")
        kind, key = (
            ("ConfigMap", reference["configMapKeyRef"])
            if "configMapKeyRef" in reference
            else ("Secret", reference["secretKeyRef"])
        )
        data = await self._data(kind, key)
        if data is not None and key["key"] in data:
            return data[key["key"]]
        if key.get("optional"):
            return None
        namespace = self._pod["metadata"]["namespace"]
        raise ConfigError(f"couldn't find key {key['key']} in {kind} {namespace}/{key['name']}")

    async def _data(self, kind: str, reference: Object) -> Mapping[str, str] | None:
        data = await self._read(kind, self._pod["metadata"]["namespace"], reference["name"])
        if data is None and not reference.get("optional"):
            raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')
        return data
