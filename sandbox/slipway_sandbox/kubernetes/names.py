"""Names, labels and ports: the formats of k8s.io/apimachinery/pkg/util/validation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from slipway_sandbox.kubernetes.errors import Cause

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SERVICE_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(rf"{LABEL.pattern}(\.{LABEL.pattern})*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_ENVIRONMENT = re.compile(r"[^=\x00-\x1f\x7f]+")
_ANNOTATIONS_LIMIT = 256 << 10  # bytes

_SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_1035_WORDS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and "
    "end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_WORDS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
PERCENT_WORDS = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)
CONFIG_KEY_WORDS = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def bad(path: str, value: Any, why: str) -> Cause:
    return Cause(path, f"Invalid value: {shown(value)}: {why}")


def shown(value: Any) -> str:
    """A value as Go's field errors print it: compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def required(path: str, why: str = "") -> Cause:
    return Cause(path, f"Required value: {why}" if why else "Required value", "FieldValueRequired")


def forbidden(path: str, why: str) -> Cause:
    return Cause(path, f"Forbidden: {why}", "FieldValueForbidden")


def duplicate(path: str, value: str) -> Cause:
    return Cause(path, f'Duplicate value: "{value}"', "FieldValueDuplicate")


def unsupported(path: str, value: Any, allowed: tuple[str, ...]) -> Cause:
    listed = ", ".join(f'"{option}"' for option in allowed)
    return Cause(
        path, f"Unsupported value: {shown(value)}: supported values: {listed}", "FieldValueNotSupported"
    )


def subdomain(path: str, name: str) -> list[Cause]:
    if len(name) > 253:
        return [bad(path, name, "must be no more than 253 characters")]
    return [] if SUBDOMAIN.fullmatch(name) else [bad(path, name, _SUBDOMAIN_WORDS)]


def label(path: str, name: str) -> list[Cause]:
    if len(name) > 63:
        return [bad(path, name, "must be no more than 63 characters")]
    return [] if LABEL.fullmatch(name) else [bad(path, name, _LABEL_WORDS)]


def label_1035(path: str, name: str) -> list[Cause]:
    """The stricter labels: of Services, and of the names in a CustomResourceDefinition."""
    if len(name) > 63:
        return [bad(path, name, "must be no more than 63 bytes")]
    return [] if SERVICE_LABEL.fullmatch(name) else [bad(path, name, _1035_WORDS)]


def qualified_name(path: str, key: str) -> list[Cause]:
    """A label key, an annotation key or a resource name: [prefix/]name."""
    prefix, slash, name = key.rpartition("/")
    causes = []
    if slash and not prefix:
        causes.append(bad(path, key, "prefix part must be non-empty"))
    elif slash and not SUBDOMAIN.fullmatch(prefix):
        causes.append(bad(path, key, f"prefix part {_SUBDOMAIN_WORDS}"))
    if not name:
        causes.append(bad(path, key, "name part must be non-empty"))
    elif len(name) > 63:
        causes.append(bad(path, key, "name part must be no more than 63 bytes"))
    if not _QUALIFIED.fullmatch(name):
        causes.append(bad(path, key, _QUALIFIED_WORDS))
    return causes


def labels(path: str, values: Mapping[str, Any]) -> list[Cause]:
    causes = []
    for key, value in values.items():
        causes += qualified_name(path, key)
        if len(value) > 63:
            causes.append(bad(path, value, "must be no more than 63 bytes"))
        elif not _LABEL_VALUE.fullmatch(value):
            causes.append(bad(path, value, _VALUE_WORDS))
    return causes


def annotation_sizes(path: str, values: Mapping[str, str]) -> list[Cause]:
    causes = [cause for key in values for cause in qualified_name(path, key.lower())]
    if sum(len(k.encode()) + len(v.encode()) for k, v in values.items()) > _ANNOTATIONS_LIMIT:
        causes.append(
            Cause(path, f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes", "FieldValueTooLong")
        )
    return causes


def config_key(path: str, key: str) -> list[Cause]:
    """A key of a ConfigMap or Secret."""
    if len(key) > 253:
        return [bad(path, key, "must be no more than 253 bytes")]
    if not CONFIG_KEY.fullmatch(key):
        return [bad(path, key, CONFIG_KEY_WORDS)]
    if key in (".", ".."):
        return [bad(path, key, f"must not be '{key}'")]
    return [bad(path, key, "must not start with '..'")] if key.startswith("..") else []


def port(path: str, number: int) -> list[Cause]:
    return [] if 1 <= number <= 65535 else [bad(path, number, "must be between 1 and 65535, inclusive")]


def environment_name(path: str, name: str) -> list[Cause]:
    if _ENVIRONMENT.fullmatch(name):
        return []
    return [
        bad(
            path,
            name,
            "a valid environment variable name must consist only of printable ASCII characters other than '='",
        )
    ]
