"""The share of requests that a split sends to another Service, measured on a real NGINX with the gateway's configuration."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import httpx
import pytest

from tasks.records.catalogue import load_environment, load_model, project_root
from tasks.rollout.gateway import routes
from tasks.rollout.split import split
from tests.support.loopback import free_port
from tests.support.nginx import MODEL, an_entry, lay_out, running

OTHER, KEY = "green-tiny-llama", "sk-split"
ASKED = 1000
# each worker counts by itself: in its last, unfinished round of a hundred the share is not exact
OFF = 0.03


@pytest.mark.parametrize("percent", [0, 20, 100])
def test_a_split_sends_its_share_by_path_and_by_name(tmp_path: Path, percent: int) -> None:
    port, one, two = free_port(), free_port(), free_port()
    configuration = lay_out(tmp_path, port, one, {KEY: an_entry("split")})
    environment = load_environment("sandbox", project_root())
    text = routes(project_root(), load_model(MODEL, project_root()), environment)[f"{MODEL}.upstream"]
    text = split(text, OTHER, percent)
    for service, where in ((f"vllm-{MODEL}", one), (OTHER, two)):
        text = text.replace(f"{service}.{environment.namespace}.svc.cluster.local:8000", f"127.0.0.1:{where}")
    answer = f'server {{ listen 127.0.0.1:{two}; access_log off; location / {{ return 200 "other"; }} }}'
    (tmp_path / "models" / f"{MODEL}.upstream").write_text(f"{text}\n{answer}")
    seen: Counter[str] = Counter()
    with (
        running(tmp_path, configuration, port),
        httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client,
    ):
        for index in range(ASKED):
            path = (f"/{MODEL}/v1/completions", "/v1/completions")[index % 2]
            answered = client.post(f"http://127.0.0.1:{port}{path}", json={"model": MODEL})
            seen[answered.raise_for_status().text] += 1
    assert sum(seen.values()) == ASKED
    assert abs(seen["other"] / ASKED - percent / 100) <= OFF
