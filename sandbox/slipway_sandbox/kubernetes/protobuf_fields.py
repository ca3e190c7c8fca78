"""Field numbers of the kinds typed Go clients send as protobuf: Helm's releases, `kubectl create …`.

Source: generated.proto of k8s.io/api and k8s.io/apimachinery. A field is (JSON name, kind). Kinds: str, bool and int
(always written by Go, so zero means absent), int? and bool? (pointers, where zero is a value), time, [str, map (str to
str), bytemap, quantities, int-or-str, - (read past it: the server fills it itself), a nested message, [message].
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
_REQUIREMENT: Fields = {1: ("key", "str"), 2: ("operator", "str"), 3: ("values", "[str")}
_SELECTOR: Fields = {1: ("matchLabels", "map"), 2: ("matchExpressions", [_REQUIREMENT])}
_REFERENCE: Fields = {
    1: ("kind", "str"),
    2: ("namespace", "str"),
    3: ("name", "str"),
    4: ("uid", "str"),
    5: ("apiVersion", "str"),
    6: ("resourceVersion", "str"),
    7: ("fieldPath", "str"),
}
_LOCAL: Fields = {1: ("name", "str")}

_PORT: Fields = {
    1: ("name", "str"),
    2: ("hostPort", "int"),
    3: ("containerPort", "int"),
    4: ("protocol", "str"),
    5: ("hostIP", "str"),
}
_CONTAINER: Fields = {
    1: ("name", "str"),
    2: ("image", "str"),
    3: ("command", "[str"),
    4: ("args", "[str"),
    5: ("workingDir", "str"),
    6: ("ports", [_PORT]),
    7: ("env", [{1: ("name", "str"), 2: ("value", "str")}]),
    8: ("resources", {1: ("limits", "quantities"), 2: ("requests", "quantities")}),
    13: ("terminationMessagePath", "str"),
    14: ("imagePullPolicy", "str"),
    16: ("stdin", "bool"),
    17: ("stdinOnce", "bool"),
    18: ("tty", "bool"),
    20: ("terminationMessagePolicy", "str"),
}
_POD_SPEC: Fields = {
    2: ("containers", [_CONTAINER]),
    3: ("restartPolicy", "str"),
    4: ("terminationGracePeriodSeconds", "int?"),
    5: ("activeDeadlineSeconds", "int?"),
    6: ("dnsPolicy", "str"),
    7: ("nodeSelector", "map"),
    8: ("serviceAccountName", "str"),
    9: ("serviceAccount", "str"),
    10: ("nodeName", "str"),
    11: ("hostNetwork", "bool"),
    12: ("hostPID", "bool"),
    13: ("hostIPC", "bool"),
    15: ("imagePullSecrets", [_LOCAL]),
    16: ("hostname", "str"),
    17: ("subdomain", "str"),
    19: ("schedulerName", "str"),
    20: ("initContainers", [_CONTAINER]),
    21: ("automountServiceAccountToken", "bool?"),
    24: ("priorityClassName", "str"),
}
_TEMPLATE: Fields = {1: ("metadata", _META), 2: ("spec", _POD_SPEC)}
_DEPLOYMENT_SPEC: Fields = {
    1: ("replicas", "int?"),
    2: ("selector", _SELECTOR),
    3: ("template", _TEMPLATE),
    4: ("strategy", {1: ("type", "str")}),
    5: ("minReadySeconds", "int"),
    6: ("revisionHistoryLimit", "int?"),
    7: ("paused", "bool"),
    9: ("progressDeadlineSeconds", "int?"),
}
_JOB_SPEC: Fields = {
    1: ("parallelism", "int?"),
    2: ("completions", "int?"),
    3: ("activeDeadlineSeconds", "int?"),
    4: ("selector", _SELECTOR),
    5: ("manualSelector", "bool?"),
    6: ("template", _TEMPLATE),
    7: ("backoffLimit", "int?"),
    8: ("ttlSecondsAfterFinished", "int?"),
    9: ("completionMode", "str"),
    10: ("suspend", "bool?"),
}
_SERVICE_PORT: Fields = {
    1: ("name", "str"),
    2: ("protocol", "str"),
    3: ("port", "int"),
    4: ("targetPort", "int-or-str"),
    5: ("nodePort", "int"),
    6: ("appProtocol", "str"),
}
_SERVICE_SPEC: Fields = {
    1: ("ports", [_SERVICE_PORT]),
    2: ("selector", "map"),
    3: ("clusterIP", "str"),
    4: ("type", "str"),
    5: ("externalIPs", "[str"),
    7: ("sessionAffinity", "str"),
    8: ("loadBalancerIP", "str"),
    9: ("loadBalancerSourceRanges", "[str"),
    10: ("externalName", "str"),
    11: ("externalTrafficPolicy", "str"),
    12: ("healthCheckNodePort", "int"),
    13: ("publishNotReadyAddresses", "bool"),
    17: ("ipFamilyPolicy", "str"),
    18: ("clusterIPs", "[str"),
    19: ("ipFamilies", "[str"),
    20: ("allocateLoadBalancerNodePorts", "bool?"),
    21: ("loadBalancerClass", "str"),
    22: ("internalTrafficPolicy", "str"),
}
_BOUND: Fields = {1: ("kind", "str"), 2: ("apiVersion", "str"), 3: ("name", "str"), 4: ("uid", "str")}

_RULE: Fields = {
    1: ("verbs", "[str"),
    2: ("apiGroups", "[str"),
    3: ("resources", "[str"),
    4: ("resourceNames", "[str"),
    5: ("nonResourceURLs", "[str"),
}
_SUBJECT: Fields = {1: ("kind", "str"), 2: ("apiGroup", "str"), 3: ("name", "str"), 4: ("namespace", "str")}
_ROLE: Fields = {1: ("apiGroup", "str"), 2: ("kind", "str"), 3: ("name", "str")}
_ROLE_BINDING: Fields = {1: ("metadata", _META), 2: ("subjects", [_SUBJECT]), 3: ("roleRef", _ROLE)}
_BUDGET_SPEC: Fields = {
    1: ("minAvailable", "int-or-str"),
    2: ("selector", _SELECTOR),
    3: ("maxUnavailable", "int-or-str"),
    4: ("unhealthyPodEvictionPolicy", "str"),
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
    "ServiceAccount": {
        1: ("metadata", _META),
        2: ("secrets", [_REFERENCE]),
        3: ("imagePullSecrets", [_LOCAL]),
        4: ("automountServiceAccountToken", "bool?"),
    },
    "Service": {1: ("metadata", _META), 2: ("spec", _SERVICE_SPEC), 3: ("status", "-")},
    "Deployment": {1: ("metadata", _META), 2: ("spec", _DEPLOYMENT_SPEC), 3: ("status", "-")},
    "Job": {1: ("metadata", _META), 2: ("spec", _JOB_SPEC), 3: ("status", "-")},
    "TokenRequest": {
        1: ("metadata", _META),
        2: (
            "spec",
            {1: ("audiences", "[str"), 3: ("boundObjectRef", _BOUND), 4: ("expirationSeconds", "int?")},
        ),
        3: ("status", "-"),
    },
    "DeleteOptions": _DELETE_OPTIONS,
    "Eviction": {1: ("metadata", _META), 2: ("deleteOptions", _DELETE_OPTIONS)},
    "Role": {1: ("metadata", _META), 2: ("rules", [_RULE])},
    "ClusterRole": {
        1: ("metadata", _META),
        2: ("rules", [_RULE]),
        3: ("aggregationRule", {1: ("clusterRoleSelectors", [_SELECTOR])}),
    },
    "RoleBinding": _ROLE_BINDING,
    "ClusterRoleBinding": _ROLE_BINDING,
    "PodDisruptionBudget": {1: ("metadata", _META), 2: ("spec", _BUDGET_SPEC), 3: ("status", "-")},
    "PriorityClass": {
        1: ("metadata", _META),
        2: ("value", "int?"),
        3: ("globalDefault", "bool"),
        4: ("description", "str"),
        5: ("preemptionPolicy", "str"),
    },
    "SelfSubjectAccessReview": {1: ("metadata", _META), 2: ("spec", _ACCESS), 3: ("status", "-")},
    "SelfSubjectRulesReview": {
        1: ("metadata", _META),
        2: ("spec", {1: ("namespace", "str")}),
        3: ("status", "-"),
    },
    "SelfSubjectReview": {1: ("metadata", _META), 2: ("status", "-")},
}
