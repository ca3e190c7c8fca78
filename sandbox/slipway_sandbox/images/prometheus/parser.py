"""PromQL by recursive descent: the part of the language this stand-in knows; the rest is a ParseError.

    expr      = or
    or        = and { "or" [matching] and }
    and       = compare { ("and" | "unless") [matching] compare }
    compare   = sum { ("==" | "!=" | ">" | "<" | ">=" | "<=") ["bool"] [matching] sum }
    sum       = product { ("+" | "-") [matching] product }
    product   = unary { ("*" | "/" | "%") [matching] unary }
    unary     = ("+" | "-") unary | power
    power     = primary [ "^" [matching] unary ]                     (binds to the right)
    matching  = ("on" | "ignoring") "(" [ label { "," label } ] ")"
    primary   = number | string | "(" expr ")" | aggregate | call | selector
    aggregate = ("sum"|"avg"|"max"|"min"|"count") [by] "(" expr ")" [by]
    by        = ("by" | "without") "(" [ label { "," label } ] ")"
    call      = function "(" [ expr { "," expr } ] ")"
    selector  = (metric [ "{" matchers "}" ] | "{" matchers "}") [ "[" duration "]" ]

Not known: offset, @, subqueries, group_left and group_right, other aggregations, native histograms.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from slipway_sandbox.images.prometheus.lexer import ParseError, Token, duration_seconds, string_value, tokens
from slipway_sandbox.images.prometheus.syntax import (
    AGGREGATIONS,
    COMPARISONS,
    SCALAR,
    SETS,
    SIGNATURES,
    VECTOR,
    Aggregate,
    Binary,
    Call,
    Matcher,
    Negate,
    Node,
    Number,
    Selector,
    Text,
    type_of,
)

_MATCH_OPERATORS = ("=", "!=", "=~", "!~")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_DEPTH_LIMIT = 40  # nested expressions; each takes about ten of the interpreter's frames


def parse(text: str) -> Node:
    """The tree of a query. Raises ParseError."""
    parser = _Parser(text)
    if parser.peek().kind == "end":
        raise ParseError(0, text, "no expression found in input")
    node = parser.expression()
    parser.expect_end()
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._next = 0
        self._depth = 0

    def peek(self) -> Token:
        return self._tokens[self._next]

    def take(self) -> Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def fail(self, token: Token, message: str) -> ParseError:
        return ParseError(token.position, self._text, message)

    def expect_end(self) -> None:
        if self.peek().kind != "end":
            raise self.fail(self.peek(), f"unexpected {self.peek()}")

    def _expect(self, text: str, where: str) -> Token:
        token = self.take()
        if token.text != text or token.kind == "string":
            raise self.fail(token, f'unexpected {token} in {where}, expected "{text}"')
        return token

    def _at(self, *texts: str) -> bool:
        token = self.peek()
        return token.kind in ("operator", "identifier") and token.text.lower() in texts

    def expression(self) -> Node:
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise self.fail(self.peek(), "expression nested too deeply")
        node = self._level(("or",), lambda: self._level(("and", "unless"), self._comparison))
        self._depth -= 1
        return node

    def _comparison(self) -> Node:
        return self._level(tuple(COMPARISONS), self._sum)

    def _sum(self) -> Node:
        return self._level(("+", "-"), lambda: self._level(("*", "/", "%"), self._unary))

    def _level(self, operators: tuple[str, ...], below: Callable[[], Node]) -> Node:
        left = below()
        while self._at(*operators):
            operator = self.take()
            as_bool, matching = self._modifiers(operator)
            left = self._binary(operator, left, below(), as_bool, matching)
        return left

    def _unary(self) -> Node:
        if not self._at("+", "-"):
            return self._power()
        operator = self.take()
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise self.fail(operator, "expression nested too deeply")
        operand = self._unary()
        self._depth -= 1
        if type_of(operand) not in (SCALAR, VECTOR):
            raise self.fail(
                operator,
                "unary expression only allowed on expressions of type scalar or instant vector,"
                f' got "{type_of(operand)}"',
            )
        return Negate(operand) if operator.text == "-" else operand

    def _power(self) -> Node:
        base = self._primary()
        if not self._at("^"):
            return base
        operator = self.take()
        _, matching = self._modifiers(operator)
        return self._binary(operator, base, self._unary(), False, matching)

    def _modifiers(self, operator: Token) -> tuple[bool, tuple[bool, tuple[str, ...]] | None]:
        as_bool = False
        if self._at("bool"):
            token = self.take()
            if operator.text not in COMPARISONS:
                raise self.fail(token, "bool modifier can only be used on comparison operators")
            as_bool = True
        matching = None
        if self._at("on", "ignoring"):
            on = self.take().text.lower() == "on"
            matching = (on, self._labels("grouping opts"))
        if self._at("group_left", "group_right"):
            raise self.fail(self.peek(), f"unexpected {self.peek()}: not supported by this server")
        return as_bool, matching

    def _binary(
        self,
        operator: Token,
        left: Node,
        right: Node,
        as_bool: bool,
        matching: tuple[bool, tuple[str, ...]] | None,
    ) -> Node:
        op = operator.text.lower()
        types = {type_of(left), type_of(right)}
        if not types <= {SCALAR, VECTOR}:
            message = "binary expression must contain only scalar and instant vector types"
            raise self.fail(operator, message)
        if op in SETS and SCALAR in types:
            raise self.fail(operator, f'set operator "{op}" not allowed in binary scalar expression')
        if op in COMPARISONS and types == {SCALAR} and not as_bool:
            raise self.fail(operator, "comparisons between scalars must use BOOL modifier")
        if matching is not None and SCALAR in types:
            raise self.fail(operator, "vector matching only allowed between instant vectors")
        return Binary(op, left, right, as_bool, matching)

    def _primary(self) -> Node:
        token = self.peek()
        if token.kind == "number":
            self.take()
            hexadecimal = token.text.lower().startswith("0x")
            return Number(float(int(token.text, 16)) if hexadecimal else float(token.text))
        if token.kind == "string":
            return Text(self._string())
        if self._at("("):
            self.take()
            node = self.expression()
            self._expect(")", "paren expression")
            return node
        if self._at("{"):
            return self._selector(None)
        if token.kind == "identifier":
            return self._named()
        raise self.fail(token, f"unexpected {token}")

    def _named(self) -> Node:
        token = self.take()
        name = token.text
        if name.lower() in ("inf", "nan") and not self._at("{", "["):
            return Number(float(name))
        if name.lower() in AGGREGATIONS and self._at("(", "by", "without"):
            return self._aggregate(name.lower())
        if self._at("("):
            return self._call(token)
        return self._selector(token)

    def _aggregate(self, op: str) -> Node:
        grouping = self._grouping()
        opening = self._expect("(", "aggregation")
        expr = self.expression()
        self._expect(")", "aggregation")
        if grouping is None:
            grouping = self._grouping()
        if type_of(expr) != VECTOR:
            raise self.fail(
                opening,
                f"expected type instant vector in aggregation expression, got {type_of(expr)}",
            )
        without, labels = grouping or (False, ())
        return Aggregate(op, expr, labels, without)

    def _grouping(self) -> tuple[bool, tuple[str, ...]] | None:
        if not self._at("by", "without"):
            return None
        without = self.take().text.lower() == "without"
        return without, self._labels("grouping opts")

    def _labels(self, where: str) -> tuple[str, ...]:
        self._expect("(", where)
        labels: list[str] = []
        while not self._at(")"):
            token = self.take()
            if token.kind != "identifier" or not _LABEL.fullmatch(token.text):
                raise self.fail(token, f"unexpected {token} in {where}, expected label")
            labels.append(token.text)
            if not self._at(")"):
                self._expect(",", where)
        self.take()
        return tuple(labels)

    def _call(self, name: Token) -> Node:
        signature = SIGNATURES.get(name.text)
        if signature is None:
            raise self.fail(name, f'unknown function with name "{name.text}"')
        self._expect("(", "function call")
        args: list[Node] = []
        while not self._at(")"):
            args.append(self.expression())
            if not self._at(")"):
                self._expect(",", "function call")
        self.take()
        types, optional, _ = signature
        if not len(types) - optional <= len(args) <= len(types):
            raise self.fail(
                name,
                f'expected {len(types)} argument(s) in call to "{name.text}", got {len(args)}',
            )
        for expected, arg in zip(types, args, strict=False):
            if type_of(arg) != expected:
                raise self.fail(
                    name,
                    f'expected type {expected} in call to function "{name.text}", got {type_of(arg)}',
                )
        return Call(name.text, tuple(args))

    def _selector(self, metric: Token | None) -> Node:
        matchers: list[Matcher] = []
        if metric is not None:
            matchers.append(Matcher("__name__", "=", metric.text))
        opening = self.peek()
        if self._at("{"):
            self.take()
            while not self._at("}"):
                matchers.append(self._matcher())
                if not self._at("}"):
                    self._expect(",", "label matching")
            self.take()
        if all(matcher.accepts({}) for matcher in matchers):
            message = "vector selector must contain at least one non-empty matcher"
            raise self.fail(opening, message)
        seconds = None
        if self._at("["):
            self.take()
            seconds = self._duration()
            if self.peek().text.startswith(":"):
                raise self.fail(self.peek(), "unexpected subquery: not supported by this server")
            self._expect("]", "matrix selector")
        if self._at("offset", "@"):
            raise self.fail(self.peek(), f"unexpected {self.peek()}: not supported by this server")
        return Selector(tuple(matchers), seconds)

    def _matcher(self) -> Matcher:
        label = self.take()
        if label.kind != "identifier" or not _LABEL.fullmatch(label.text):
            raise self.fail(label, f'unexpected {label} in label matching, expected identifier or "}}"')
        operator = self.take()
        if operator.text not in _MATCH_OPERATORS:
            raise self.fail(
                operator, f"unexpected {operator} in label matching, expected label matching operator"
            )
        at = self.peek()
        value = self._string()
        if "~" not in operator.text:
            return Matcher(label.text, operator.text, value)
        try:
            pattern = re.compile(value, re.DOTALL)
        except re.error as error:
            raise self.fail(at, f"error parsing regexp: {error}: `{value}`") from error
        return Matcher(label.text, operator.text, value, pattern)

    def _duration(self) -> float:
        token = self.take()
        if token.kind not in ("duration", "number"):
            raise self.fail(token, f"unexpected {token} in matrix selector, expected duration")
        seconds = duration_seconds(token.text) if token.kind == "duration" else float(token.text)
        if seconds <= 0:
            raise self.fail(token, "duration must be greater than 0")
        return seconds

    def _string(self) -> str:
        token = self.take()
        if token.kind != "string":
            raise self.fail(token, f"unexpected {token} in label matching, expected string")
        try:
            return string_value(token.text)
        except ValueError as error:
            raise self.fail(token, str(error)) from error
