"""The rewrite phase: `set`, `if`, `return`, `break`, in the order they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from slipway_sandbox.images.nginx.grammar import Directive
from slipway_sandbox.images.nginx.values import Template
from slipway_sandbox.images.nginx.variables import Exchange


@dataclass(frozen=True)
class Returned:
    """`return`: a status, and a body or the address of a redirect."""

    code: int
    text: str | None


@dataclass(frozen=True)
class Operation:
    """One step; `run` gives a Returned, True for `break`, or None to go on."""

    run: Callable[[Exchange], Returned | bool | None]
    names: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()

    def needed(self) -> frozenset[str]:
        return self.names

    def defined(self) -> frozenset[str]:
        return self.sets


def run(operations: Iterable[Operation], exchange: Exchange) -> Returned | None:
    """Until one returns or breaks."""
    for operation in operations:
        result = operation.run(exchange)
        if isinstance(result, Returned):
            return result
        if result:
            return None
    return None


def compile_rewrite(body: Sequence[Directive]) -> tuple[Operation, ...]:
    """The operations among a block's directives. Raises Emergency."""
    makers = {"set": _set, "return": _return, "break": _break, "if": _if}
    return tuple(makers[d.name](d) for d in body if d.name in makers)


def _set(directive: Directive) -> Operation:
    name, value = directive.args[0].removeprefix("$"), Template(directive.args[1])
    if not directive.args[0].startswith("$"):
        raise directive.refuse(f'invalid variable name "{directive.args[0]}"')

    def assign(exchange: Exchange) -> None:
        exchange.set_values[name] = value.render(exchange.value)

    return Operation(assign, value.names, frozenset({name}))


def _return(directive: Directive) -> Operation:
    first, *rest = directive.args
    if first.isdigit():
        if not 0 <= int(first) <= 999:
            raise directive.refuse(f'invalid return code "{first}"')
        code, text = int(first), Template(rest[0]) if rest else None
    elif rest or not first.startswith(("http://", "https://", "$")):
        raise directive.refuse(f'invalid return code "{first}"')
    else:
        code, text = 302, Template(first)
    names = text.names if text else frozenset()
    return Operation(lambda e: Returned(code, text.render(e.value) if text else None), names)


def _break(_: Directive) -> Operation:
    return Operation(lambda _: True)


def _if(directive: Directive) -> Operation:
    for inner in directive.block or ():
        if inner.name not in ("set", "return", "break"):
            raise inner.refuse(
                f'directive "{inner.name}" inside "if" is not supported by the sandbox\'s nginx'
            )
    test, names = _condition(directive)
    operations = compile_rewrite(directive.block or ())

    def branch(exchange: Exchange) -> Returned | bool | None:
        if not test(exchange):
            return None
        for operation in operations:
            if result := operation.run(exchange):
                return result
        return None

    sets = frozenset().union(*(o.sets for o in operations))
    return Operation(branch, names.union(*(o.names for o in operations)), sets)


def _condition(directive: Directive) -> tuple[Callable[[Exchange], bool], frozenset[str]]:
    words = " ".join(directive.args)
    if not (words.startswith("(") and words.endswith(")")):
        raise directive.refuse(f'invalid condition "{words}"')
    parts = list(directive.args)
    parts[0], parts[-1] = parts[0][1:], parts[-1]
    parts[-1] = parts[-1][:-1]
    parts = [part for index, part in enumerate(parts) if part or 0 < index < len(parts) - 1]
    if not parts or not parts[0].startswith("$"):
        raise directive.refuse(f'invalid condition "{words}"')
    left = Template(parts[0])
    if len(parts) == 1:
        return lambda e: left.render(e.value) not in ("", "0"), left.names
    operator, right = parts[1], " ".join(parts[2:])
    if operator in ("=", "!="):
        value = Template(right)
        equal = operator == "="
        return lambda e: (left.render(e.value) == value.render(e.value)) is equal, left.names | value.names
    if operator in ("~", "~*", "!~", "!~*"):
        pattern = re.compile(right, re.I if operator.endswith("*") else 0)
        negated = operator.startswith("!")

        def matches(exchange: Exchange) -> bool:
            found = pattern.search(left.render(exchange.value))
            if found and not negated:
                exchange.captures = (found[0], *(group or "" for group in found.groups()))
            return (found is not None) is not negated

        return matches, left.names
    raise directive.refuse(f'unexpected "{operator}" in condition')
