"""Rewrite a pod's nginx configuration for a process on loopback: paths, listen addresses and Service names, nothing else.

A pod here has no root file system, network or DNS of its own. nginx itself judges everything that is not rewritten.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from slipway_sandbox.images.hosts import HostsFile

# What nginx.org's packages, which both images install, have compiled in: BASE_CONFIGURE_ARGS in alpine/Makefile and
# debian/Makefile of github.com/nginx/pkg-oss (commit 010a1f24). The images link both logs to the standard streams:
# mainline/alpine-slim/Dockerfile of github.com/nginx/docker-nginx-unprivileged (commit 1b4a181c, nginx 1.29.3). That
# image sets the paths to /tmp in its own nginx.conf; with another configuration the compiled-in ones hold.
PREFIX: Final = "/etc/nginx"
PID_FILE: Final = "/run/nginx.pid"
ACCESS_LOG: Final = "/var/log/nginx/access.log"
LOG_LINKS: Final = {ACCESS_LOG: "/dev/stdout", "/var/log/nginx/error.log": "/dev/stderr"}
TEMPORARY: Final = {
    f"{name}_temp_path": f"/var/cache/nginx/{folder}_temp"
    for name, folder in (
        ("client_body", "client"),
        ("proxy", "proxy"),
        ("fastcgi", "fastcgi"),
        ("uwsgi", "uwsgi"),
        ("scgi", "scgi"),
    )
}
FOLDERS: Final = ("/run", "/tmp", "/var/cache/nginx", "/var/log/nginx")  # noqa: S108 paths in the pod

LOGS: Final = frozenset({"access_log", "error_log"})
READ: Final = frozenset(
    {"alias", "js_import", "js_preload_object", "root", "ssl_certificate", "ssl_certificate_key"}
)
# A module of its own file in the image (alpine/Dockerfile of docker-nginx-unprivileged, commit e26803b, installs
# nginx-module-njs) and compiled into the wheel's nginx, which refuses to load it.
COMPILED_IN: Final = frozenset({"/usr/lib/nginx/modules/ngx_http_js_module.so"})
_NO_PATH = re.compile(r"(off|stderr|(syslog|memory|data|engine):.*|/dev/.*|\$.*)$")
_LISTEN = re.compile(r"((\*|localhost|\d+\.\d+\.\d+\.\d+):)?(\d+)$")
_ENDPOINT = re.compile(
    r"(?P<scheme>[a-z]+://)?(?P<host>[A-Za-z0-9._-]+)(?P<port>:\d+)?(?P<rest>/.*)?$", re.DOTALL
)
# nginx's own words: quotes and comments count at the start of a word only, and `${` opens no block.
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|[;{}]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|\$\{|[^\s;{\\])+|.""",
    re.VERBOSE | re.DOTALL,
)


class PodFiles:
    """The pod's file system: `mounts` maps mount paths to folders of this machine, other paths are below `root`."""

    def __init__(self, mounts: Mapping[str, str], read_only: frozenset[str], root: Path) -> None:
        self._mounts = {PurePosixPath(path): Path(real) for path, real in mounts.items()}
        self._read_only = frozenset(map(PurePosixPath, read_only))
        self._root = root
        for folder in FOLDERS:
            (root / folder[1:]).mkdir(parents=True, exist_ok=True)

    def real(self, path: str) -> Path:
        """Map a path of the pod to this machine."""
        mount = self._mount(path)
        if mount is None:
            return self._root / path.lstrip("/")
        return self._mounts[mount] / PurePosixPath(path).relative_to(mount)

    def in_pod(self, path: str) -> str:
        """Map a path of this machine back to the pod: the kubelet rewrites mount paths in commands."""
        for mount, real in self._mounts.items():
            if Path(path).is_relative_to(real):
                return str(mount / Path(path).relative_to(real))
        return path

    def is_read_only(self, path: str) -> bool:
        """Whether the mount that holds `path`, or else the pod's root, is read-only."""
        return (self._mount(path) or PurePosixPath("/")) in self._read_only

    def _mount(self, path: str) -> PurePosixPath | None:
        wanted = PurePosixPath(path)
        return max(
            (mount for mount in self._mounts if wanted.is_relative_to(mount)),
            key=lambda mount: len(mount.parts),
            default=None,
        )


class Rendering:
    """A configuration rewritten file by file below `out`.

    `refusals` are the errors nginx would end with in a pod and cannot see here: names DNS does not know and
    paths on a read-only file system, as the text after `nginx: [emerg] `.
    """

    def __init__(self, files: PodFiles, hosts: HostsFile, address: str, out: Path) -> None:
        self._files, self._hosts, self._address, self._out = files, hosts, address, out
        self._folder = PREFIX
        self._upstreams: set[str] = set()
        self._start()

    def _start(self) -> None:
        self._blocks: list[tuple[str, set[str]]] = [("main", set())]
        self._refused: dict[str, list[str]] = {"name": [], "mkdir": [], "log": [], "pid": []}

    def render(self, path: str, directives: str) -> tuple[Path, str]:
        """Rewrite the main file and the directives of `-g`. A missing file is left for nginx to report."""
        self._folder = str(PurePosixPath(path).parent)
        known: set[str] | None = None
        while known != self._upstreams:  # an upstream may be declared after it is used
            known = set(self._upstreams)
            self._start()
            given = self._text(directives, "the command line")
            self._file(path)
        seen = self._blocks[0][1]
        if os.geteuid() == 0 and "user" not in seen:
            given += " user root;"  # the pod's user owns its files; here it is who runs the sandbox
        if "pid" not in seen:
            given += f" pid {self._written('pid', PID_FILE)};"
        return self._out / path.lstrip("/"), given

    @property
    def refusals(self) -> list[str]:
        """Errors in the order nginx meets them: names while it reads, then temporary folders, logs and the pid file."""
        return [text for texts in self._refused.values() for text in texts]

    def _file(self, path: str) -> None:
        real, out = self._files.real(path), self._out / path.lstrip("/")
        out.parent.mkdir(parents=True, exist_ok=True)
        if real.is_file():
            out.touch(0o600)  # it may be a Secret's
            out.write_text(self._text(real.read_text("utf-8"), path), "utf-8")

    def _text(self, source: str, path: str) -> str:
        pieces: list[str] = []
        words: list[str] = []
        begin = 0  # where the directive's pieces begin
        for match in _TOKEN.finditer(source):
            token = match[0]
            if token.isspace() or token.startswith("#"):
                pass
            elif token in (";", "{"):
                if words and token == "{":
                    self._open(words)
                if words[:1] == ["load_module"] and self._absolute(words[-1]) in COMPILED_IN:
                    del pieces[begin:]
                    token = ""
                words = []
            elif token == "}":
                token = self._close() + token
            else:
                begin = begin if words else len(pieces)
                words.append(token.strip("\"'"))
                where = f"{path}:{source.count(chr(10), 0, match.start()) + 1}"
                token = self._word(words, token, where)
            pieces.append(token)
        return "".join(pieces)

    def _open(self, words: list[str]) -> None:
        self._blocks.append((words[0], set()))
        if words[0] == "upstream":
            self._upstreams.add(words[-1])

    def _close(self) -> str:
        """Directives to add at the end of a block: the image's defaults for what it does not set."""
        if len(self._blocks) == 1:
            return ""  # one `}` too many: nginx reports it
        name, seen = self._blocks.pop()
        if name == "server" and self._blocks[-1][0] == "http" and "listen" not in seen:
            return f" listen {self._address}:{80 if os.getuid() == 0 else 8000}; "
        if name != "http":
            return ""
        added = [
            f"{one} {self._written('mkdir', path)};" for one, path in TEMPORARY.items() if one not in seen
        ]
        if "access_log" not in seen:
            added.append(f"access_log {LOG_LINKS[ACCESS_LOG]};")
        return f" {' '.join(added)} "

    def _word(self, words: list[str], token: str, where: str) -> str:
        """Rewrite one word; `words` are the directive's words so far with this one the last."""
        name, word = words[0], words[-1]
        if len(words) == 1:
            self._blocks[-1][1].add(name)
            return token
        if name == "user":
            return "root" if os.geteuid() == 0 else token
        if name == "listen" and len(words) == 2:
            return self._listen(word, where)
        if name == "resolver":
            self._refused["name"].append(f'"resolver" {word}: the sandbox has no DNS server in {where}')
        if len(words) > 2:
            return token
        if name in ("server", "proxy_pass"):
            return self._endpoint(word, where)
        if name == "include":
            return self._include(word)
        return self._path(name, word) or token

    def _listen(self, word: str, where: str) -> str:
        found = _LISTEN.match(word)
        if not found:
            self._refused["name"].append(
                f'"listen" {word}: a pod of the sandbox has one IPv4 address in {where}'
            )
            return f"{self._address}:65535"
        return f"{self._address}:{found[3]}"

    def _endpoint(self, word: str, where: str) -> str:
        """Replace the Service name in `host:port` or `http://host:port/uri` by its address."""
        found = _ENDPOINT.match(word)
        if not found:
            return word
        scheme, host, port, rest = (found[part] or "" for part in ("scheme", "host", "port", "rest"))
        if scheme and host in self._upstreams:
            return word
        try:
            address = self._hosts.lookup(host)
        except OSError:
            self._refused["name"].append(f'host not found in upstream "{host}{port}" in {where}')
            address = "127.0.0.1"
        return f"{scheme}{address}{port}{rest}"

    def _include(self, word: str) -> str:
        path = self._absolute(word, self._folder)
        real = self._files.real(path)
        for found in sorted(real.parent.glob(real.name)):
            self._file(str(PurePosixPath(path).parent / found.name))
        return str(self._out / path.lstrip("/"))

    def _path(self, name: str, word: str) -> str:
        """Rewrite a path argument; an empty string if the word is not a path."""
        if name in TEMPORARY:
            return self._written("mkdir", self._absolute(word))
        if name == "pid":
            return self._written("pid", self._absolute(word))
        if name in LOGS and not _NO_PATH.match(word):
            path = self._absolute(word)
            return LOG_LINKS.get(path) or self._written("log", path)
        if name in READ and not _NO_PATH.match(word):
            return str(self._files.real(self._absolute(word)))
        return ""

    def _written(self, kind: str, path: str) -> str:
        if self._files.is_read_only(path):
            call = "mkdir" if kind == "mkdir" else "open"
            self._refused[kind].append(f'{call}() "{path}" failed (30: Read-only file system)')
            return str(self._out / kind)
        return str(self._files.real(path))

    @staticmethod
    def _absolute(word: str, folder: str = PREFIX) -> str:
        return word if word.startswith("/") else f"{folder}/{word}"
