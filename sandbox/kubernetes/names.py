"""Names, labels and ports: the formats of k8s.io/apimachinery/pkg/util/validation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sandbox.kubernetes.errors import Cause

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
    "end with an alphanumeric character"
)
_LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character"
)


def bad(path: str, value: Any, why: str) -> Cause:
    return Cause(path, f"Invalid value: {json.dumps(value)}: {why}")


def required(path: str, why: str = "") -> Cause:
    return Cause(path, f"Required value: {why}" if why else "Required value", "FieldValueRequired")


def forbidden(path: str, why: str) -> Cause:
    return Cause(path, f"Forbidden: {why}", "FieldValueForbidden")


def duplicate(path: str, value: str) -> Cause:
    return Cause(path, f'Duplicate value: "{value}"', "FieldValueDuplicate")


def unsupported(path: str, value: Any, allowed: tuple[str, ...]) -> Cause:
    listed = ", ".join(f'"{option}"' for option in sorted(allowed))
    return Cause(path, f'Unsupported value: "{value}": supported values: {listed}', "FieldValueNotSupported")


def subdomain(path: str, name: str) -> list[Cause]:
    if len(name) > 253:
        return [bad(path, name, "must be no more than 253 characters")]
    return [] if SUBDOMAIN.fullmatch(name) else [bad(path, name, _SUBDOMAIN_WORDS)]


def label(path: str, name: str) -> list[Cause]:
    if len(name) > 63:
        return [bad(path, name, "must be no more than 63 characters")]
    return [] if LABEL.fullmatch(name) else [bad(path, name, _LABEL_WORDS)]


def service_label(path: str, name: str) -> list[Cause]:
    if len(name) > 63:
        return [bad(path, name, "must be no more than 63 characters")]
    why = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character"
    return [] if SERVICE_LABEL.fullmatch(name) else [bad(path, name, why)]


def qualified_name(path: str, key: str) -> list[Cause]:
    """A label key, an annotation key or a resource name: [prefix/]name."""
    prefix, slash, name = key.rpartition("/")
    good = len(name) <= 63 and _QUALIFIED.fullmatch(name) and (not slash or SUBDOMAIN.fullmatch(prefix))
    why = (
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric character"
    )
    return [] if good else [bad(path, key, why)]


def labels(path: str, values: Mapping[str, Any]) -> list[Cause]:
    causes = []
    for key, value in values.items():
        causes += qualified_name(path, key)
        if len(value) > 63:
            causes.append(bad(path, value, "must be no more than 63 characters"))
        elif not _LABEL_VALUE.fullmatch(value):
            why = (
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
            )
            causes.append(bad(path, value, why))
    return causes


def annotation_sizes(path: str, values: Mapping[str, str]) -> list[Cause]:
    causes = [cause for key in values for cause in qualified_name(path, key.lower())]
    if sum(len(k.encode()) + len(v.encode()) for k, v in values.items()) > _ANNOTATIONS_LIMIT:
        causes.append(
            Cause(path, f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes", "FieldValueTooLong")
        )
    return causes


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
