"""The form of a deployment in Prefect's UI: titles, lists of names, and no environment, which is fixed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

from prefect.utilities.callables import parameter_schema
from pydantic.fields import FieldInfo

# `source` reads as the option of the command line does
TITLES = {"source": "From", "may_destroy": "May be destroyed"}


def form(
    function: Callable[..., Any], fixed: Mapping[str, Any], choices: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The JSON schema of a flow's parameters but those in `fixed`, the others as lists where `choices` has their values.

    The server refuses a run whose parameters it does not allow.
    """
    schema = parameter_schema(function).model_dump_for_openapi()
    hints = get_type_hints(function, include_extras=True)
    properties = {
        name: {**_help(hints[name]), **_field(name, given, choices.get(name))}
        for name, given in schema["properties"].items()
        if name not in fixed
    }
    required = [name for name in schema.get("required", ()) if name not in fixed]
    return {**schema, "properties": properties, "required": required}


def _help(hint: Any) -> dict[str, str]:
    """The description within an `Annotated`, which Prefect's schema leaves out."""
    found = next((one.description for one in get_args(hint) if isinstance(one, FieldInfo)), None)
    return {"description": found} if found else {}


def _field(name: str, given: Mapping[str, Any], values: Sequence[str] | None) -> dict[str, Any]:
    title = TITLES.get(name) or name.replace("_", " ").capitalize()
    field = {**given, "title": title}
    if values is None:
        return field
    field.pop("pattern", None)
    field.pop("anyOf", None)
    return {**field, "type": "string", "enum": list(values)}
