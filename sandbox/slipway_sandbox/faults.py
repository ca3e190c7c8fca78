"""Faults by name: one small file every process of a sandbox reads, so a fault set once acts everywhere.

faults = Faults(settings.faults_file)
if fault := faults.hit("hub-429", target="slipway/tiny-llama"):
    ...misbehave, with fault.value as the fault's own parameter...
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

# name -> what happens. A name that is not here is refused: a typo must not make a test that cannot fail.
CATALOGUE: dict[str, str] = {
    "capacity": "EC2 has no capacity for the instance type (InsufficientInstanceCapacity); target is the type, or type, zone and market: g6.xlarge us-east-1a spot",
    "quota-zero": "the GPU vCPU quota is 0",
    "eks-throttled": "EKS answers ThrottlingException",
    "aws-slow": "S3 and EKS wait value seconds before they act, or until it is cleared; target is service, operation and (for S3) bucket and key, e.g. s3 GetObject models/*",
    "s3-denied": "S3 answers AccessDenied; target is the operation, e.g. PutObject",
    "s3-503": "S3 answers SlowDown; target is the operation",
    "s3-disconnect": "S3 drops the connection in the middle of the body",
    "hub-gated": "the repo asks for an accepted licence",
    "hub-401": "the hub does not know the token",
    "hub-429": "the hub answers 429 with RateLimit and Retry-After; value is the seconds to wait",
    "hub-5xx": "the hub answers 503",
    "hub-reset": "the CDN resets the connection in the middle of the body",
    "hub-truncated": "the CDN ends the body early without an error",
    "hub-wrong-range": "the CDN answers another range than was asked",
    "hub-wrong-bytes": "the CDN flips one byte of the body",
    "hub-expired-url": "signed URLs expire at once: the CDN answers 403",
    "hub-slow": "the CDN sends value bytes a second",
    "hub-xet-only": "large files are in Xet and refused over plain HTTP; target is the repo",
    "image-not-found": "the registry does not know the image; target is the image",
    "image-moved": "a tag means another image than before; target is the image, e.g. vllm/*:v0.32.0",
    "node-lost": "the node stops answering; target is the node",
    "spot-reclaim": "the node gets a two-minute notice and goes",
    "disk-full": "the volume has only value bytes left (0); target is the claim",
    "csi-identity": "the EBS CSI driver has no pod identity: claims stay Pending",
    "gpu-missing": "the device plugin finds no GPU",
    "gpu-broken": "matrix products on the node's first GPU are wrong, or with value 1 an uncorrectable ECC error; target is the node",
    "pod-oom-killed": "the container is killed for memory; target is the pod",
    "path-cut": "packets that open connections to a Service are dropped, as by a network policy; target is its full name",
    "engine-oom": "vLLM runs out of GPU memory while loading",
    "engine-slow-load": "loading takes value seconds more, or until it is cleared",
    "engine-crash": "vLLM dies while loading, with a traceback",
    "engine-rank-crash": "one rank of a vLLM with several dies while loading; value is the rank (0)",
    "engine-rank-killed": "one rank of a vLLM with several is killed as it gets a request; value is the rank (0)",
    "engine-wrong-name": "vLLM serves another name than was asked",
    "engine-stall": "a stream stops in the middle and never ends",
    "engine-error-in-200": "a stream answers 200 and then an error event",
    "engine-slow-token": "every first token takes value seconds more",
    "engine-altered-answers": "answers have other tokens, vectors or scores than before; with a value the same ones, off by value: nats, cosine distance, score",
    "engine-500": "requests are answered 500",
    "api-conflict": "the Kubernetes API answers 409 to an update",
    "api-500": "the Kubernetes API answers 500",
    "api-slow": "the Kubernetes API waits value seconds before it acts; target is method and resource, e.g. PUT secrets",
    "metrics-down": "Prometheus answers 503",
    "metrics-empty": "Prometheus has no series",
}


class UnknownFault(ValueError):
    """A fault of that name does not exist."""


@dataclass(frozen=True)
class Fault:
    """One switch. `count` hits remain (None: without end), each taken with `probability`, where `target` matches."""

    name: str
    target: str = "*"
    count: int | None = None
    probability: float = 1.0
    value: float | None = None


class Faults:
    """The switches of one sandbox, shared between processes through a locked file."""

    def __init__(self, path: Path, chance: Callable[[], float] = random.random) -> None:
        self._path = path
        self._chance = chance

    def active(self) -> list[Fault]:
        if not self._path.exists():
            return []
        return [Fault(**entry) for entry in json.loads(self._path.read_text() or "[]")]

    def set(
        self,
        name: str,
        *,
        target: str = "*",
        count: int | None = None,
        probability: float = 1.0,
        value: float | None = None,
    ) -> None:
        """Switch a fault on, replacing one of the same name and target. Raises UnknownFault."""
        if name not in CATALOGUE:
            raise UnknownFault(f"no fault is called {name!r}; `slipway sandbox fault list` shows them")
        fault = Fault(name, target, count, probability, value)
        with self._locked() as faults:
            faults[:] = [f for f in faults if (f.name, f.target) != (name, target)] + [fault]

    def clear(self, name: str | None = None) -> None:
        """Switch one fault off, or all of them."""
        with self._locked() as faults:
            faults[:] = [f for f in faults if name is not None and f.name != name]

    def hit(self, name: str, target: str = "") -> Fault | None:
        """The fault, when it is on and strikes now; one of its count is used up."""
        if name not in CATALOGUE:
            raise UnknownFault(name)
        if not self._path.exists() or not any(f.name == name for f in self.active()):
            return None
        with self._locked() as faults:
            for index, fault in enumerate(faults):
                if fault.name != name or not fnmatchcase(target, fault.target):
                    continue
                if self._chance() >= fault.probability:
                    return None
                if fault.count is not None:
                    left = dataclasses.replace(fault, count=fault.count - 1)
                    faults[index : index + 1] = [left] if left.count else []
                return fault
        return None

    def lasts(self, fault: Fault) -> bool:
        """Whether a fault that makes something wait is still on. One with a count was used up as it struck: it lasts its time."""
        return fault.count is not None or fault in self.active()

    def wait(self, name: str, target: str = "") -> None:
        """Where the fault strikes now, wait its value in seconds, or until it is cleared."""
        fault = self.hit(name, target)
        end = time.monotonic() + (fault.value or 0.0) if fault else 0.0
        while fault and time.monotonic() < end and self.lasts(fault):
            time.sleep(0.05)

    def is_on(self, name: str, target: str) -> bool:
        """Whether a fault of that name covers `target` now; uses up none of its count. Raises UnknownFault."""
        if name not in CATALOGUE:
            raise UnknownFault(name)
        return any(fault.name == name and fnmatchcase(target, fault.target) for fault in self.active())

    @contextmanager
    def _locked(self) -> Iterator[list[Fault]]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            faults = self.active()
            before = list(faults)
            yield faults
            if faults != before:
                partial = self._path.with_suffix(".partial")
                partial.write_text(json.dumps([dataclasses.asdict(f) for f in faults]))
                partial.replace(self._path)
