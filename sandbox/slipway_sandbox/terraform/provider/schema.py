"""What a resource type looks like: attributes and blocks, as tables that the planner and the wire read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from slipway_sandbox.terraform.provider import wire

if TYPE_CHECKING:
    from slipway_sandbox.terraform.provider.session import Session

CtyType = str | list[Any]  # Terraform's own JSON notation: "string", ["set", "string"], ["object", {...}]
State = dict[str, Any]
Path = tuple[str | int, ...]

STRING: CtyType = "string"
NUMBER: CtyType = "number"
BOOL: CtyType = "bool"
MISSING: Any = object()


def list_of(element: CtyType) -> CtyType:
    return ["list", element]


def set_of(element: CtyType) -> CtyType:
    return ["set", element]


def map_of(element: CtyType) -> CtyType:
    return ["map", element]


def object_of(**members: CtyType) -> CtyType:
    return ["object", members]


STRINGS, STRING_LIST, STRING_MAP = set_of(STRING), list_of(STRING), map_of(STRING)


@dataclass(frozen=True)
class Attribute:
    """One attribute. `forces_new`: a change replaces the resource. `varies`: any update may change this computed value,
    but not one of attributes in `unmoved_by` alone.

    `document`: a JSON text whose spelling does not matter, so an equivalent one is no change.
    """

    type: CtyType
    required: bool = False
    optional: bool = False
    computed: bool = False
    forces_new: bool = False
    sensitive: bool = False
    varies: bool = False
    unmoved_by: frozenset[str] = frozenset()
    document: bool = False
    default: Any = MISSING


def required(
    kind: CtyType, *, forces_new: bool = False, sensitive: bool = False, document: bool = False
) -> Attribute:
    return Attribute(kind, required=True, forces_new=forces_new, sensitive=sensitive, document=document)


def optional(
    kind: CtyType,
    *,
    default: Any = MISSING,
    computed: bool = False,
    forces_new: bool = False,
    sensitive: bool = False,
    document: bool = False,
) -> Attribute:
    """Optional; with a default or `computed` the provider fills in what the configuration leaves out."""
    fills = computed or default is not MISSING
    return Attribute(
        kind,
        optional=True,
        computed=fills,
        forces_new=forces_new,
        sensitive=sensitive,
        document=document,
        default=default,
    )


def computed(kind: CtyType, *, varies: bool = False, sensitive: bool = False) -> Attribute:
    return Attribute(kind, computed=True, varies=varies, sensitive=sensitive)


@dataclass(frozen=True)
class Block:
    """A nested block. `computed`: left out of the configuration, the API's own value is shown (legacy SDK behaviour)."""

    attributes: Mapping[str, Attribute]
    blocks: Mapping[str, Block] = field(default_factory=dict)
    nesting: Literal["list", "set"] = "list"
    min_items: int = 0
    max_items: int = 0
    forces_new: bool = False
    computed: bool = False

    def to_wire(self) -> Any:
        nesting = {"list": wire.NESTING_LIST, "set": wire.NESTING_SET}
        return wire.message("Schema.Block")(
            attributes=[
                wire.message("Schema.Attribute")(
                    name=name,
                    type=json.dumps(a.type).encode(),
                    required=a.required,
                    optional=a.optional,
                    computed=a.computed,
                    sensitive=a.sensitive,
                )
                for name, a in sorted(self.attributes.items())
            ],
            block_types=[
                wire.message("Schema.NestedBlock")(
                    type_name=name,
                    block=b.to_wire(),
                    nesting=nesting[b.nesting],
                    min_items=b.min_items,
                    max_items=b.max_items,
                )
                for name, b in sorted(self.blocks.items())
            ],
        )


def only(attributes: Mapping[str, Attribute], **options: Any) -> Block:
    """A list block that may stand once at most."""
    return Block(attributes, max_items=1, **options)


Problems = Iterable[tuple[Path, str]]
Read = Callable[["Session", State], State | None]


def no_problems(_config: State) -> Problems:
    return ()


def import_by_id(identity: str) -> State:
    return {"id": identity}


@dataclass(frozen=True)
class Resource:
    """A managed resource type.

    create(session, planned): the one call that makes it -> what is known then, with `id`. All that can fail after that
    (further calls, the wait until it is ready) is settle(session, state): when it fails the id is kept in the state.
    read(session, state) -> the attributes the API shows, or None when the resource is gone.
    update(session, prior, planned) and delete(session, state) return when they are through; update may set the
    attributes of `planned` that vary. retag(session, state, removed, added) changes the tags of what can have any.
    """

    schema: Block
    create: Callable[[Session, State], State]
    read: Read
    delete: Callable[[Session, State], None]
    settle: Callable[[Session, State], None] | None = None
    update: Callable[[Session, State, State], None] | None = None
    importer: Callable[[str], State] = import_by_id
    validate: Callable[[State], Problems] = no_problems
    retag: Callable[[Session, State, list[str], dict[str, str]], None] | None = None

    @property
    def legacy_types(self) -> bool:
        """Blocks that are optional and computed exist only in Terraform's older type system (trap 6 of the notes)."""
        return any(block.computed for block in self.schema.blocks.values())


@dataclass(frozen=True)
class DataSource:
    """A data source type: read(session, configuration) -> all its attributes."""

    schema: Block
    read: Callable[[Session, State], State]


def resource(
    attributes: Mapping[str, Attribute],
    *,
    blocks: Mapping[str, Block] | None = None,
    **functions: Any,
) -> Resource:
    """A resource type with the attributes all of them have: `id`, and where they can be tagged `tags` and `tags_all`."""
    tagged = {"tags": optional(STRING_MAP), "tags_all": computed(STRING_MAP)} if "retag" in functions else {}
    return Resource(
        Block({"id": computed(STRING)} | tagged | dict(attributes), dict(blocks or {})), **functions
    )


def data_source(
    attributes: Mapping[str, Attribute],
    read: Callable[[Session, State], State],
    blocks: Mapping[str, Block] | None = None,
) -> DataSource:
    return DataSource(Block({"id": computed(STRING)} | dict(attributes), blocks or {}), read)
