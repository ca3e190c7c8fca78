"""Git object ids, computed as git does, so that a commit of the same files has the same id on every machine.

Formats: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects and
https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md (the pointer that stands for a large file).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

AUTHOR = "Slipway Sandbox <sandbox@slipway.invalid>"


def object_id(kind: str, content: bytes) -> str:
    """The sha1 git gives an object of `kind` ("blob", "tree", "commit"), as 40 hex digits."""
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """What git stores in place of a large file; `size` in bytes."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def trees(blobs: Mapping[str, str]) -> dict[str, str]:
    """The id of every directory ("" is the root) of a snapshot given as path -> blob id."""
    children: dict[str, dict[str, str]] = {"": {}}
    for path in blobs:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            children.setdefault("/".join(parts[:depth]), {})
    for path, oid in blobs.items():
        folder, _, name = path.rpartition("/")
        children[folder][name] = oid
    ids: dict[str, str] = {}
    for folder in sorted(children, key=lambda f: f.count("/") + bool(f), reverse=True):
        names = {name: ("100644", oid) for name, oid in children[folder].items()}
        for sub, oid in ids.items():
            parent, _, name = sub.rpartition("/")
            if parent == folder:
                names[name] = ("40000", oid)
        ids[folder] = object_id("tree", _tree_content(names))
    return ids


def _tree_content(names: Mapping[str, tuple[str, str]]) -> bytes:
    def order(name: str) -> bytes:  # git compares a directory as if its name ended in a slash
        return (name + "/" if names[name][0] == "40000" else name).encode()

    return b"".join(
        f"{names[name][0]} {name}\0".encode() + bytes.fromhex(names[name][1])
        for name in sorted(names, key=order)
    )


def commit_id(tree: str, parent: str | None, message: str, epoch: int) -> str:
    """The id of a commit made at `epoch` (seconds since 1970, UTC)."""
    lines = [f"tree {tree}"]
    if parent:
        lines.append(f"parent {parent}")
    lines += [f"author {AUTHOR} {epoch} +0000", f"committer {AUTHOR} {epoch} +0000", "", message, ""]
    return object_id("commit", "\n".join(lines).encode())
