"""A flow's signature as options of a command line: names, types, ranges, defaults and help. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import annotated_types
import click
from pydantic.fields import FieldInfo

# `from` is a word that Python keeps for itself; where two parameters want an option, the first has it
# `approved_by` is whoever is at the terminal: no option
NAMES: dict[str, tuple[str, ...]] = {
    "source": ("--from",),
    "measure_from": ("--from", "--measure-from"),
    "reason": ("--approve",),
    "promises": ("--promise",),
    "approved_by": (),
}
METAVARS = {"reason": "REASON"}
SHORT = {"environment": "-e"}
# what a command is about: its argument, whichever of them the flow has
POSITIONAL = ("model", "name")


def parameters_of(function: Callable[..., Any]) -> list[click.Parameter]:
    """`model` or `name` is the argument, everything else an option; `Field` gives default, range and help."""
    hints = get_type_hints(function, include_extras=True)
    taken: set[str] = set()
    found = []
    for name, given in inspect.signature(function).parameters.items():
        options = NAMES.get(name, (f"--{name.replace('_', '-')}",))
        free = [option for option in options if option not in taken]
        taken |= set(free)
        if not free and name not in POSITIONAL:
            continue
        found.append(_parameter(name, hints[name], given.default, free))
    return found


def _parameter(name: str, hint: Any, default: Any, options: list[str]) -> click.Parameter:
    if name in POSITIONAL:
        return click.Argument([name], required=default is inspect.Parameter.empty)
    field = default if isinstance(default, FieldInfo) else _field_of(hint)
    required = default is inspect.Parameter.empty
    value = field.default if isinstance(default, FieldInfo) else default
    # click takes even a default of None for a value that was given
    given: dict[str, Any] = {} if required or value in (None, []) else {"default": value}
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return click.Option(
        [name, *([SHORT[name]] if name in SHORT else []), *options],
        required=required,
        **given,
        show_default=bool(given.get("default")),
        help=field.description if field else None,
        is_flag=kind is bool,
        multiple=get_origin(kind) is list,
        type=None if kind is bool else _type_of(kind, field),
        metavar=METAVARS.get(name),
    )


def _field_of(hint: Any) -> Any:
    return next((part for part in get_args(hint) if isinstance(part, FieldInfo)), None)


def _type_of(kind: Any, field: FieldInfo | None) -> click.ParamType[Any]:
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if kind is float:
        bounds = field.metadata if field else []
        low = next((one for one in bounds if isinstance(one, annotated_types.Gt | annotated_types.Ge)), None)
        high = next((one.le for one in bounds if isinstance(one, annotated_types.Le)), None)
        is_open = isinstance(low, annotated_types.Gt)
        least = low.gt if isinstance(low, annotated_types.Gt) else low.ge if low else None
        return click.FloatRange(least, high, min_open=is_open)  # type: ignore[arg-type]
    return click.STRING
