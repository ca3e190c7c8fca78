"""Which directives nginx's gateway subset knows, where they may stand and how many arguments they take.

Source: nginx's documentation of ngx_core, ngx_http_core, proxy, upstream, map, rewrite, headers, log and stub_status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from slipway_sandbox.images.nginx.grammar import Directive
from slipway_sandbox.images.nginx.values import flag, seconds, size

M, E, H, S, L, I, U, MAP = "main", "events", "http", "server", "location", "if", "upstream", "map"  # noqa: E741
HSL: Final = (H, S, L)


@dataclass(frozen=True)
class Rule:
    """Contexts, least and most arguments (None: any number), and whether a block follows."""

    contexts: tuple[str, ...]
    least: int = 1
    most: int | None = 1
    block: bool = False


RULES: Final[Mapping[str, Rule]] = {
    "worker_processes": Rule((M,)), "pid": Rule((M,)), "user": Rule((M,), 1, 2), "daemon": Rule((M,)),
    "worker_rlimit_nofile": Rule((M,)), "worker_shutdown_timeout": Rule((M,)), "env": Rule((M,)),
    "error_log": Rule((M, *HSL), 1, 2),
    "events": Rule((M,), 0, 0, block=True),
    "worker_connections": Rule((E,)), "multi_accept": Rule((E,)), "use": Rule((E,)),
    "http": Rule((M,), 0, 0, block=True),
    "map": Rule((H,), 2, 2, block=True),
    "map_hash_bucket_size": Rule((H,)), "map_hash_max_size": Rule((H,)),
    "variables_hash_bucket_size": Rule((H,)), "variables_hash_max_size": Rule((H,)),
    "proxy_headers_hash_bucket_size": Rule(HSL), "proxy_headers_hash_max_size": Rule(HSL),
    "server_names_hash_bucket_size": Rule((H,)), "server_names_hash_max_size": Rule((H,)),
    "log_format": Rule((H,), 2, None),
    "access_log": Rule((*HSL, I), 1, None),
    "types": Rule(HSL, 0, 0, block=True),
    "upstream": Rule((H,), 1, 1, block=True),
    "keepalive": Rule((U,), 1, 2), "keepalive_time": Rule((U,)), "zone": Rule((U,), 1, 2),
    "least_conn": Rule((U,), 0, 0), "random": Rule((U,), 0, 2),
    "resolver": Rule((*HSL, U), 1, None), "resolver_timeout": Rule((*HSL, U)),
    "server": Rule((H, U), 0, None),  # a block in http, a line in upstream
    "listen": Rule((S,), 1, None), "server_name": Rule((S,), 1, None),
    "location": Rule((S, L), 1, 2, block=True),
    "if": Rule((S, L), 1, None, block=True),
    "set": Rule((S, L, I), 2, 2), "return": Rule((S, L, I), 1, 2), "break": Rule((S, L, I), 0, 0),
    "internal": Rule((L,), 0, 0),
    "default_type": Rule(HSL), "client_max_body_size": Rule(HSL), "client_body_buffer_size": Rule(HSL),
    "client_body_timeout": Rule(HSL), "client_header_timeout": Rule((H, S)), "send_timeout": Rule(HSL),
    "client_header_buffer_size": Rule((H, S)), "large_client_header_buffers": Rule((H, S), 2, 2),
    "client_body_temp_path": Rule(HSL, 1, 4), "proxy_temp_path": Rule(HSL, 1, 4),
    "fastcgi_temp_path": Rule(HSL, 1, 4), "uwsgi_temp_path": Rule(HSL, 1, 4), "scgi_temp_path": Rule(HSL, 1, 4),
    "keepalive_timeout": Rule(HSL, 1, 2), "keepalive_requests": Rule((*HSL, U)),
    "lingering_close": Rule(HSL), "reset_timedout_connection": Rule(HSL),
    "sendfile": Rule(HSL), "tcp_nopush": Rule(HSL), "tcp_nodelay": Rule(HSL), "gzip": Rule(HSL),
    "server_tokens": Rule(HSL), "merge_slashes": Rule((H, S)), "absolute_redirect": Rule(HSL),
    "add_header": Rule((*HSL, I), 2, 3), "error_page": Rule((*HSL, I), 2, None),
    "chunked_transfer_encoding": Rule(HSL), "stub_status": Rule((S, L), 0, 1),
    "proxy_pass": Rule((L, I)), "proxy_http_version": Rule(HSL), "proxy_set_header": Rule(HSL, 2, 2),
    "proxy_pass_header": Rule(HSL), "proxy_hide_header": Rule(HSL), "proxy_method": Rule(HSL),
    "proxy_buffering": Rule(HSL), "proxy_buffer_size": Rule(HSL), "proxy_buffers": Rule(HSL, 2, 2),
    "proxy_busy_buffers_size": Rule(HSL), "proxy_max_temp_file_size": Rule(HSL), "proxy_cache": Rule(HSL),
    "proxy_request_buffering": Rule(HSL), "proxy_pass_request_headers": Rule(HSL),
    "proxy_pass_request_body": Rule(HSL), "proxy_redirect": Rule(HSL, 1, 2),
    "proxy_socket_keepalive": Rule(HSL), "proxy_ignore_client_abort": Rule(HSL),
    "proxy_intercept_errors": Rule(HSL), "proxy_connect_timeout": Rule(HSL), "proxy_read_timeout": Rule(HSL),
    "proxy_send_timeout": Rule(HSL), "proxy_next_upstream": Rule(HSL, 1, None),
    "proxy_next_upstream_tries": Rule(HSL), "proxy_next_upstream_timeout": Rule(HSL),
}  # fmt: skip

# nginx has these; this stand-in does not, and says so rather than to pretend that they are unknown or to ignore them
UNSUPPORTED: Final = frozenset(
    [
        "root",
        "alias",
        "index",
        "try_files",
        "rewrite",
        "auth_basic",
        "auth_basic_user_file",
        "auth_request",
        "limit_req",
        "limit_req_zone",
        "limit_conn",
        "limit_conn_zone",
        "allow",
        "deny",
        "satisfy",
        "geo",
        "split_clients",
        "ssl_certificate",
        "ssl_certificate_key",
        "ssl_protocols",
        "http2",
        "grpc_pass",
        "fastcgi_pass",
        "uwsgi_pass",
        "proxy_cache_path",
        "sub_filter",
        "stream",
        "mail",
        "load_module",
        "js_import",
        "real_ip_header",
        "set_real_ip_from",
        "limit_except",
        "mirror",
        "autoindex",
        "expires",
        "proxy_bind",
        "proxy_cookie_path",
        "ip_hash",
        "hash",
    ]
)


FLAGS: Final = frozenset(
    [
        "sendfile",
        "tcp_nopush",
        "tcp_nodelay",
        "gzip",
        "server_tokens",
        "merge_slashes",
        "absolute_redirect",
        "chunked_transfer_encoding",
        "proxy_buffering",
        "proxy_request_buffering",
        "proxy_pass_request_headers",
        "proxy_pass_request_body",
        "proxy_socket_keepalive",
        "proxy_ignore_client_abort",
        "proxy_intercept_errors",
        "reset_timedout_connection",
        "daemon",
        "multi_accept",
    ]
)
TIMES: Final = frozenset(
    [
        "client_body_timeout",
        "client_header_timeout",
        "send_timeout",
        "keepalive_timeout",
        "keepalive_time",
        "resolver_timeout",
        "proxy_connect_timeout",
        "proxy_read_timeout",
        "proxy_send_timeout",
        "proxy_next_upstream_timeout",
        "worker_shutdown_timeout",
    ]
)
SIZES: Final = frozenset(
    [
        "client_max_body_size",
        "client_body_buffer_size",
        "client_header_buffer_size",
        "proxy_buffer_size",
        "proxy_busy_buffers_size",
        "proxy_max_temp_file_size",
        "map_hash_bucket_size",
        "map_hash_max_size",
        "variables_hash_bucket_size",
    ]
)


def _check_value(directive: Directive) -> None:
    if directive.name in FLAGS:
        flag(directive)
    elif directive.name in TIMES:
        seconds(directive, directive.args[0])
    elif directive.name in SIZES:
        size(directive, directive.args[0])


def check(directives: tuple[Directive, ...], context: str = M) -> None:
    """Raises Emergency for the first directive that is unknown, misplaced or has the wrong arguments."""
    for directive in directives:
        if context in (MAP, "types"):
            continue  # their lines are data
        rule = RULES.get(directive.name)
        if rule is None:
            if directive.name in UNSUPPORTED:
                raise directive.refuse(
                    f'directive "{directive.name}" is not supported by the sandbox\'s nginx'
                )
            raise directive.refuse(f'unknown directive "{directive.name}"')
        if context not in rule.contexts:
            raise directive.refuse(f'"{directive.name}" directive is not allowed here')
        count = len(directive.args)
        if count < rule.least or (rule.most is not None and count > rule.most):
            raise directive.refuse(f'invalid number of arguments in "{directive.name}" directive')
        block = rule.block or (directive.name == "server" and context == H)
        if block and directive.block is None:
            raise directive.refuse(f'directive "{directive.name}" has no opening "{{"')
        if not block and directive.block is not None:
            raise directive.refuse(f'directive "{directive.name}" is not terminated by ";"')
        _check_value(directive)
        if directive.block is not None:
            check(directive.block, directive.name)
