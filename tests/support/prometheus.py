"""Programs of Debian's packages prometheus and prometheus-alertmanager, run over files of a test's own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.loopback import free_port
from tests.support.workloads import wait


def program(name: str) -> str:
    """Its path. Raises FileNotFoundError where the package is not installed."""
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"no {name} on PATH: apt-get install prometheus prometheus-alertmanager")
    return found


@dataclass(frozen=True)
class Series:
    """A series, and its samples in promtool's notation: `0+10x40` is 0, 10 … 400, `_x40` is forty that are missing."""

    name: str
    labels: dict[str, str]
    values: str

    def __str__(self) -> str:
        inner = ",".join(f'{key}="{value}"' for key, value in self.labels.items())
        return f"{self.name}{{{inner}}}"


def firing(rules: dict[str, Any], series: Sequence[Series], minutes: int, alert: str, folder: Path) -> bool:
    """Whether `alert` fires at that minute, by promtool's judgement. `rules`: the spec of a PrometheusRule."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    labels = _labels(rules, alert)
    inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
    expected = {"labels": f'ALERTS{{alertname="{alert}",alertstate="firing",{inner}}}', "value": 1}
    answers = {}
    for fires in (True, False):
        test = {
            "interval": "30s",
            "input_series": [{"series": str(each), "values": each.values} for each in series],
            "promql_expr_test": [
                {
                    "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
                    "eval_time": f"{minutes}m",
                    "exp_samples": [expected] if fires else [],
                }
            ],
        }
        document = {"rule_files": ["rules.yaml"], "evaluation_interval": "30s", "tests": [test]}
        (folder / "test.yaml").write_text(yaml.safe_dump(document))
        words = [program("promtool"), "test", "rules", str(folder / "test.yaml")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        answers[fires] = (done.returncode == 0, done.stdout + done.stderr)
    # neither: the test itself is wrong, and promtool says why
    assert answers[True][0] != answers[False][0], answers
    return answers[True][0]


def _labels(rules: dict[str, Any], alert: str) -> dict[str, str]:
    (found,) = (rule for group in rules["groups"] for rule in group["rules"] if rule["alert"] == alert)
    labels: dict[str, str] = found["labels"]
    return labels


@contextlib.contextmanager
def serving(words: Sequence[str], url: str, folder: Path) -> Iterator[None]:
    """Run a server until the block ends; it is there once `url` answers."""
    with (folder / f"{Path(words[0]).name}.log").open("wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder)
        try:
            wait(lambda: _answers(url))
            yield
        finally:
            server.terminate()
            server.wait(30)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5).is_success
    return False


@contextlib.contextmanager
def alertmanager(config: dict[str, Any], folder: Path) -> Iterator[str]:
    """Alertmanager over this configuration; its address, as Prometheus is told it."""
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    words = [
        program("prometheus-alertmanager"),
        f"--config.file={folder / 'alertmanager.yaml'}",
        f"--web.listen-address={address}",
        f"--storage.path={folder / 'alertmanager'}",
        "--cluster.listen-address=",
    ]
    with serving(words, f"http://{address}/-/ready", folder):
        yield address


@contextlib.contextmanager
def prometheus(config: dict[str, Any], rules: dict[str, Any], folder: Path) -> Iterator[str]:
    """Prometheus over this configuration and these rules; its URL."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config | {"rule_files": ["rules.yaml"]}))
    address = f"127.0.0.1:{free_port()}"
    words = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--web.listen-address={address}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
    ]
    with serving(words, f"http://{address}/-/ready", folder):
        yield f"http://{address}"
