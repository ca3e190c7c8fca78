"""Field numbers of the kinds sent as protobuf: Helm's releases and namespaces, deletions, evictions, access reviews.

Source: generated.proto of k8s.io/api and k8s.io/apimachinery. A field is (JSON name, kind). Kinds: str, bool and int
(always written by Go, so zero means absent), int? and bool? (pointers, where zero is a value), time, [str, map (str to
str), bytemap, - (read past it: the server fills it itself), a nested message, [message].
A number that is not listed here is refused rather than dropped.
"""

from __future__ import annotations

from typing import Any

Fields = dict[int, tuple[str, Any]]

_OWNER: Fields = {
    1: ("kind", "str"),
    3: ("name", "str"),
    4: ("uid", "str"),
    5: ("apiVersion", "str"),
    6: ("controller", "bool?"),
    7: ("blockOwnerDeletion", "bool?"),
}
_META: Fields = {
    1: ("name", "str"),
    2: ("generateName", "str"),
    3: ("namespace", "str"),
    4: ("selfLink", "-"),
    5: ("uid", "str"),
    6: ("resourceVersion", "str"),
    7: ("generation", "int"),
    8: ("creationTimestamp", "time"),
    9: ("deletionTimestamp", "time"),
    10: ("deletionGracePeriodSeconds", "int?"),
    11: ("labels", "map"),
    12: ("annotations", "map"),
    13: ("ownerReferences", [_OWNER]),
    14: ("finalizers", "[str"),
    17: ("managedFields", "-"),
}
_RESOURCE_ATTRIBUTES: Fields = {
    1: ("namespace", "str"),
    2: ("verb", "str"),
    3: ("group", "str"),
    4: ("version", "str"),
    5: ("resource", "str"),
    6: ("subresource", "str"),
    7: ("name", "str"),
}
_ACCESS: Fields = {
    1: ("resourceAttributes", _RESOURCE_ATTRIBUTES),
    2: ("nonResourceAttributes", {1: ("path", "str"), 2: ("verb", "str")}),
}
_DELETE_OPTIONS: Fields = {
    1: ("gracePeriodSeconds", "int?"),
    2: ("preconditions", {1: ("uid", "str"), 2: ("resourceVersion", "str")}),
    3: ("orphanDependents", "bool?"),
    4: ("propagationPolicy", "str"),
    5: ("dryRun", "[str"),
}

KINDS: dict[str, Fields] = {
    "Secret": {
        1: ("metadata", _META),
        2: ("data", "bytemap"),
        3: ("type", "str"),
        4: ("stringData", "map"),
        5: ("immutable", "bool?"),
    },
    "ConfigMap": {
        1: ("metadata", _META),
        2: ("data", "map"),
        3: ("binaryData", "bytemap"),
        4: ("immutable", "bool?"),
    },
    "Namespace": {1: ("metadata", _META), 2: ("spec", {1: ("finalizers", "[str")}), 3: ("status", "-")},
    "DeleteOptions": _DELETE_OPTIONS,
    "Eviction": {1: ("metadata", _META), 2: ("deleteOptions", _DELETE_OPTIONS)},
    "SelfSubjectAccessReview": {1: ("metadata", _META), 2: ("spec", _ACCESS), 3: ("status", "-")},
}
