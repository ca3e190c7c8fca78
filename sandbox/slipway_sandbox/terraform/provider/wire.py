"""The messages of Terraform's plugin protocol 6 that this provider speaks, built at import without generated code.

Field numbers and types are those of `docs/plugin-protocol/tfplugin6.proto` (protocol 6.10) in hashicorp/terraform; unknown
fields a newer Terraform sends are skipped by protobuf, methods not listed here are answered UNIMPLEMENTED, which Terraform
takes as "not supported" for all of them.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "tfplugin6"
SERVICE = f"{PACKAGE}.Provider"

# message -> "field number type[*]", a star for repeated, a message by its full name inside the package
MESSAGES: dict[str, str] = {
    "DynamicValue": "msgpack 1 bytes, json 2 bytes",
    "AttributePath": "steps 1 AttributePath.Step*",
    "AttributePath.Step": "attribute_name 1 string|, element_key_string 2 string|, element_key_int 3 int64|",
    "Diagnostic": "severity 1 int32, summary 2 string, detail 3 string, attribute 4 AttributePath",
    "RawState": "json 1 bytes",
    "ServerCapabilities": "plan_destroy 1 bool, get_provider_schema_optional 2 bool",
    "Schema": "version 1 int64, block 2 Schema.Block",
    "Schema.Block": "version 1 int64, attributes 2 Schema.Attribute*, block_types 3 Schema.NestedBlock*",
    "Schema.Attribute": (
        "name 1 string, type 2 bytes, required 4 bool, optional 5 bool, computed 6 bool, sensitive 7 bool"
    ),
    "Schema.NestedBlock": (
        "type_name 1 string, block 2 Schema.Block, nesting 3 int32, min_items 4 int64, max_items 5 int64"
    ),
    "GetProviderSchema.Request": "",
    # a protobuf map is, on the wire, a repeated message of key = 1 and value = 2
    "GetProviderSchema.Entry": "key 1 string, value 2 Schema",
    "GetProviderSchema.Response": (
        "provider 1 Schema, resource_schemas 2 GetProviderSchema.Entry*, "
        "data_source_schemas 3 GetProviderSchema.Entry*, diagnostics 4 Diagnostic*, provider_meta 5 Schema, "
        "server_capabilities 6 ServerCapabilities"
    ),
    "ValidateProviderConfig.Request": "config 1 DynamicValue",
    "ValidateProviderConfig.Response": "diagnostics 2 Diagnostic*",
    "ValidateResourceConfig.Request": "type_name 1 string, config 2 DynamicValue",
    "ValidateResourceConfig.Response": "diagnostics 1 Diagnostic*",
    "ValidateDataResourceConfig.Request": "type_name 1 string, config 2 DynamicValue",
    "ValidateDataResourceConfig.Response": "diagnostics 1 Diagnostic*",
    "UpgradeResourceState.Request": "type_name 1 string, version 2 int64, raw_state 3 RawState",
    "UpgradeResourceState.Response": "upgraded_state 1 DynamicValue, diagnostics 2 Diagnostic*",
    "ConfigureProvider.Request": "terraform_version 1 string, config 2 DynamicValue",
    "ConfigureProvider.Response": "diagnostics 1 Diagnostic*",
    "ReadResource.Request": "type_name 1 string, current_state 2 DynamicValue, private 3 bytes",
    "ReadResource.Response": "new_state 1 DynamicValue, diagnostics 2 Diagnostic*, private 3 bytes",
    "PlanResourceChange.Request": (
        "type_name 1 string, prior_state 2 DynamicValue, proposed_new_state 3 DynamicValue, config 4 DynamicValue, "
        "prior_private 5 bytes"
    ),
    "PlanResourceChange.Response": (
        "planned_state 1 DynamicValue, requires_replace 2 AttributePath*, planned_private 3 bytes, "
        "diagnostics 4 Diagnostic*, legacy_type_system 5 bool"
    ),
    "ApplyResourceChange.Request": (
        "type_name 1 string, prior_state 2 DynamicValue, planned_state 3 DynamicValue, config 4 DynamicValue, "
        "planned_private 5 bytes"
    ),
    "ApplyResourceChange.Response": (
        "new_state 1 DynamicValue, private 2 bytes, diagnostics 3 Diagnostic*, legacy_type_system 4 bool"
    ),
    "ImportResourceState.Request": "type_name 1 string, id 2 string",
    "ImportResourceState.ImportedResource": "type_name 1 string, state 2 DynamicValue, private 3 bytes",
    "ImportResourceState.Response": (
        "imported_resources 1 ImportResourceState.ImportedResource*, diagnostics 2 Diagnostic*"
    ),
    "ReadDataSource.Request": "type_name 1 string, config 2 DynamicValue",
    "ReadDataSource.Response": "state 1 DynamicValue, diagnostics 2 Diagnostic*",
    "StopProvider.Request": "",
    "StopProvider.Response": "Error 1 string",
}

ERROR = 1  # Diagnostic.Severity
NESTING_LIST, NESTING_SET = 2, 3  # Schema.NestedBlock.NestingMode

_SCALARS = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
}


def _flat(name: str) -> str:
    """Nested messages are declared flat: the wire carries no message names, so nothing differs."""
    return name.replace(".", "_")


def _describe(name: str, fields: str, into: descriptor_pb2.DescriptorProto) -> None:
    into.name = _flat(name)
    for text in filter(None, fields.split(", ")):
        field_name, number, kind = text.split(" ")
        in_oneof, repeated = kind.endswith("|"), kind.endswith("*")
        kind = kind.rstrip("|*")
        field = into.field.add(name=field_name, number=int(number))
        field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{_flat(kind)}"
        if in_oneof:  # an index of 0 must still be sent, which plain proto3 scalars would leave out
            if not into.oneof_decl:
                into.oneof_decl.add(name="selector")
            field.oneof_index = 0


def _build() -> dict[str, Any]:
    document = descriptor_pb2.FileDescriptorProto(name="tfplugin6.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        _describe(name, fields, document.message_type.add())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(document)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{_flat(name)}"))
        for name in MESSAGES
    }


_CLASSES = _build()
METHODS = tuple(name.removesuffix(".Request") for name in MESSAGES if name.endswith(".Request"))


def message(name: str) -> Any:
    """The message class of that name, e.g. `message("Schema.Block")`. Raises KeyError."""
    return _CLASSES[name]
