"""nginx's grammar and its refusals, in nginx's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway_sandbox.images.hosts import HostsFile
from slipway_sandbox.images.nginx import grammar
from slipway_sandbox.images.nginx.config import Configuration, load
from slipway_sandbox.images.nginx.grammar import Emergency


def configured(folder: Path, http: str, main: str = "events {}") -> Configuration:
    path = folder / "nginx.conf"
    path.write_text(f"{main}\nhttp {{\n{http}\n}}\n")
    return load(path, HostsFile(None), {})


@pytest.mark.parametrize(
    ("http", "said"),
    [
        ("serverr { }", 'unknown directive "serverr" in {file}:3'),
        ("server {\n lissten 80;\n}", 'unknown directive "lissten" in {file}:4'),
        ("listen 80;", '"listen" directive is not allowed here in {file}:3'),
        ("server { listen; }", 'invalid number of arguments in "listen" directive in {file}:3'),
        ("server { listen 80", 'unexpected "}}" in {file}:4'),
        ("server { location / { proxy_pass http://nobody.svc:1; } }", 'host not found in upstream "nobody.svc:1" in {file}:3'),
        ("server { location / { return 200 $nope; } }", 'unknown "nope" variable'),
        ("server { location / { proxy_pass https://127.0.0.1; } }", "invalid URL prefix in {file}:3"),
        ("include keys/one.map;", 'open() "{folder}/keys/one.map" failed (2: No such file or directory) in {file}:3'),
        ("server { location / { try_files $uri =404; } }", 'directive "try_files" is not supported by the sandbox\'s nginx in {file}:3'),
        ("upstream u { }", "no servers are inside upstream in {file}:3"),
        ("server { keepalive_timeout 1x; }", '"keepalive_timeout" directive invalid value in {file}:3'),
        ("server { location / { proxy_buffering maybe; } }", 'invalid value "maybe" in "proxy_buffering" directive, it must be "on" or "off" in {file}:3'),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused_in_nginxs_words(tmp_path: Path, http: str, said: str) -> None:
    with pytest.raises(Emergency) as refused:
        configured(tmp_path, http)
    assert str(refused.value) == said.format(file=tmp_path / "nginx.conf", folder=tmp_path)


def test_a_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("events {\n")
    with pytest.raises(Emergency, match=r'unexpected end of file, expecting "}" in .*c:1'):
        grammar.read(tmp_path / "c", {})


def test_a_configuration_without_events_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Emergency, match='no "events" section in configuration'):
        configured(tmp_path, "", main="")


def test_a_bearer_key_too_long_for_a_hash_bucket_is_refused_as_in_production(tmp_path: Path) -> None:
    entry = f'map $http_authorization $ok {{ default 0; "Bearer {"k" * 40}" 1; }}'
    with pytest.raises(
        Emergency, match="could not build map_hash, you should increase map_hash_bucket_size: 64"
    ):
        configured(tmp_path, entry)
    configured(tmp_path, "map_hash_bucket_size 128;\n" + entry)


def test_quotes_escapes_comments_and_braced_variables_are_read(tmp_path: Path) -> None:
    (tmp_path / "c").write_text('a \'x;y\' "q\\"r" z\\ z; # not this\nb ${name}s { c; }\n')
    first, second = grammar.read(tmp_path / "c", {})
    assert first.args == (
        "x;y",
        'q"r',
        "z\\ z",
    )  # as in nginx: the space no longer ends the word, and the backslash stays
    assert second.args == ("${name}s",)
    assert second.block is not None
    assert [(d.name, d.line) for d in second.block] == [("c", 2)]


def test_a_glob_that_matches_nothing_is_fine(tmp_path: Path) -> None:
    assert configured(tmp_path, "map $uri $x { default 0; include keys/*.map; }").maps["x"].name == "x"


def test_locations_are_chosen_in_nginxs_order(tmp_path: Path) -> None:
    server = configured(
        tmp_path,
        "server { location = /a { return 200; } location /a { return 200; } location /ab { return 200; }"
        " location ^~ /s/ { return 200; } location ~ \\.php$ { return 200; } }",
    ).servers[0]
    found = [server.find(path).path for path in ("/a", "/ac", "/abc", "/s/x.php", "/a.php", "/none")]
    assert found == ["/a", "/a", "/ab", "/s/", "\\.php$", ""]


@pytest.mark.parametrize("pattern", ["/etc/nginx/keys/*.map", "keys/*.map"])
def test_includes_lead_through_the_pods_mounts(tmp_path: Path, pattern: str) -> None:
    secret = tmp_path / "secret-volume"
    secret.mkdir()
    (secret / "a.map").write_text("key 1;\n")
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "c").write_text(f"map $a $b {{ include {pattern}; }}\n")
    read = grammar.read(conf / "c", {"/etc/nginx": str(conf), "/etc/nginx/keys": str(secret)})
    assert read[0].block is not None
    assert [d.name for d in read[0].block] == ["key"]
