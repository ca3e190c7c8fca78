"""Which resources the API serves: the built-in table, and the registry that custom resources join and leave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from slipway_sandbox.kubernetes.definitions import Schema, definitions

Key = tuple[str, str]  # (group, plural): where objects are stored, whatever version they are asked in

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

# group/version | plural | Kind | short names | n(amespaced) or c(luster) | subresources
_BUILT_IN = """
v1 | namespaces | Namespace | ns | c | finalize,status
v1 | nodes | Node | no | c | status
v1 | pods | Pod | po | n | binding,eviction,log,status
v1 | services | Service | svc | n | proxy,status
v1 | configmaps | ConfigMap | cm | n |
v1 | secrets | Secret | | n |
v1 | serviceaccounts | ServiceAccount | sa | n |
v1 | events | Event | ev | n |
v1 | persistentvolumeclaims | PersistentVolumeClaim | pvc | n | status
v1 | persistentvolumes | PersistentVolume | pv | c | status
apps/v1 | deployments | Deployment | deploy | n | scale,status
apps/v1 | replicasets | ReplicaSet | rs | n | scale,status
apps/v1 | statefulsets | StatefulSet | sts | n | scale,status
apps/v1 | daemonsets | DaemonSet | ds | n | status
apps/v1 | controllerrevisions | ControllerRevision | | n |
autoscaling/v2 | horizontalpodautoscalers | HorizontalPodAutoscaler | hpa | n | status
batch/v1 | jobs | Job | | n | status
policy/v1 | poddisruptionbudgets | PodDisruptionBudget | pdb | n | status
networking.k8s.io/v1 | networkpolicies | NetworkPolicy | netpol | n |
rbac.authorization.k8s.io/v1 | roles | Role | | n |
rbac.authorization.k8s.io/v1 | rolebindings | RoleBinding | | n |
rbac.authorization.k8s.io/v1 | clusterroles | ClusterRole | | c |
rbac.authorization.k8s.io/v1 | clusterrolebindings | ClusterRoleBinding | | c |
storage.k8s.io/v1 | storageclasses | StorageClass | sc | c |
storage.k8s.io/v1 | csidrivers | CSIDriver | | c |
storage.k8s.io/v1 | csinodes | CSINode | | c |
storage.k8s.io/v1 | volumeattachments | VolumeAttachment | | c | status
scheduling.k8s.io/v1 | priorityclasses | PriorityClass | pc | c |
coordination.k8s.io/v1 | leases | Lease | | n |
discovery.k8s.io/v1 | endpointslices | EndpointSlice | | n |
apiregistration.k8s.io/v1 | apiservices | APIService | | c | status
apiextensions.k8s.io/v1 | customresourcedefinitions | CustomResourceDefinition | crd,crds | c | status
"""

# Kinds that are answered but never stored: only POST.
_REVIEWS = """
authorization.k8s.io/v1 | selfsubjectaccessreviews | SelfSubjectAccessReview | c
"""

# `kubectl get all` lists these.
_CATEGORY_ALL = frozenset(
    [
        "pods",
        "services",
        "deployments",
        "replicasets",
        "statefulsets",
        "daemonsets",
        "jobs",
    ]
)
# Kinds whose registry strategy keeps metadata.generation (k8s.io/kubernetes/pkg/registry, 1.32).
_GENERATION = frozenset(
    [
        "deployments",
        "replicasets",
        "statefulsets",
        "daemonsets",
        "jobs",
        "poddisruptionbudgets",
        "networkpolicies",
        "endpointslices",
        "priorityclasses",
        "customresourcedefinitions",
    ]
)


@dataclass(frozen=True)
class Resource:
    """One served resource in one version."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    schema: Schema = field(default_factory=dict, compare=False, repr=False)
    verbs: tuple[str, ...] = ALL_VERBS
    categories: tuple[str, ...] = ()
    singular: str = ""
    list_kind: str = ""
    custom: bool = field(default=False, compare=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> Key:
        return self.group, self.plural

    @property
    def qualified(self) -> str:
        """As errors name it: `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def stored(self) -> bool:
        return "get" in self.verbs

    @property
    def has_generation(self) -> bool:
        return self.custom or self.plural in _GENERATION


def _rows(table: str) -> Iterator[list[str]]:
    for line in table.strip().splitlines():
        yield [cell.strip() for cell in line.split("|")]


def _split(api_version: str) -> tuple[str, str]:
    group, _, version = api_version.rpartition("/")
    return group, version


def _words(cell: str) -> tuple[str, ...]:
    return tuple(filter(None, cell.split(",")))


def _verbs(plural: str) -> tuple[str, ...]:
    """Namespaces go one by one: a collection of them cannot be deleted."""
    return tuple(verb for verb in ALL_VERBS if plural != "namespaces" or verb != "deletecollection")


def built_in() -> list[Resource]:
    """The built-in resources, each with its schema."""
    found = []
    for api_version, plural, kind, short, scope, subresources in _rows(_BUILT_IN):
        group, version = _split(api_version)
        found.append(
            Resource(
                group,
                version,
                plural,
                kind,
                scope == "n",
                short_names=_words(short),
                subresources=frozenset(_words(subresources)),
                verbs=_verbs(plural),
                schema=definitions().of_kind(group, version, kind),
                categories=("all",) if plural in _CATEGORY_ALL else (),
                singular=kind.lower(),
                list_kind=kind + "List",
            )
        )
    for api_version, plural, kind, scope in _rows(_REVIEWS):
        group, version = _split(api_version)
        schema = definitions().of_kind(group, version, kind)
        found.append(
            Resource(
                group,
                version,
                plural,
                kind,
                scope == "n",
                schema=schema,
                verbs=("create",),
                singular=kind.lower(),
            )
        )
    return found


class Registry:
    """Every served resource, by (group, version, plural)."""

    def __init__(self) -> None:
        self._served = {(r.group, r.version, r.plural): r for r in built_in()}

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._served.values())

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._served.get((group, version, plural))

    def core(self, plural: str) -> Resource:
        return self._served["", "v1", plural]

    def of_key(self, key: Key) -> Resource:
        """Raises KeyError for a resource that is not served."""
        found = next((r for r in self if (r.group, r.plural) == key), None)
        if found is None:
            raise KeyError(key)
        return found

    def add(self, resource: Resource) -> None:
        self._served[resource.group, resource.version, resource.plural] = resource

    def remove(self, key: Key) -> None:
        """Stop serving every version of a custom resource."""
        for served in [s for s, r in self._served.items() if (r.group, r.plural) == key]:
            del self._served[served]

    def builds_in(self, group: str) -> bool:
        """Whether kinds of this group are there without a definition."""
        return any(resource.group == group and not resource.custom for resource in self)

    def group_versions(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys((r.group, r.version) for r in self))
