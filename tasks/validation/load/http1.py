"""Choose the HTTP/1.1 parser: httptools where it is installed, else the standard library alone."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("httptools"):
    from tasks.validation.load.llhttp import Answer
else:
    from tasks.validation.load.plain_http1 import Answer  # type: ignore[assignment]

__all__ = ["Answer"]
