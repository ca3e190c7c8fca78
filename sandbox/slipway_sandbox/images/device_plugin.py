"""Stand-in for NVIDIA's Kubernetes device plugin: logs like it, waits, ends on SIGTERM.

The GPUs themselves are advertised by `slipway_sandbox.nodes.gpu`, the kubelet's side of the device plugin API, while this pod runs.
Log lines follow k8s-device-plugin v0.17 (klog format).
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime

SOCKET = "/var/lib/kubelet/device-plugins/nvidia-gpu.sock"


def klog(source: str, message: str, severity: str = "I") -> None:
    """One line in klog's format: severity, month and day, time, process, source."""
    now = datetime.now(UTC).strftime("%m%d %H:%M:%S.%f")
    print(f"{severity}{now} {os.getpid():7d} {source}] {message}", file=sys.stderr, flush=True)


def main() -> int:
    """Run until SIGTERM. SLIPWAY_SANDBOX_GPUS is the node's number of working GPUs."""
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    klog("main.go:235", '"Starting NVIDIA Device Plugin" version="v0.17.0"')
    klog("main.go:238", "Starting FS watcher for /var/lib/kubelet/device-plugins")
    klog("main.go:245", "Starting OS watcher.")
    klog("main.go:260", "Starting Plugins.")
    klog("main.go:317", "Loading configuration.")
    if int(os.environ.get("SLIPWAY_SANDBOX_GPUS", "0")) > 0:
        klog("main.go:356", "Retrieving plugins.")
        klog("server.go:195", "Starting GRPC server for 'nvidia.com/gpu'")
        klog("server.go:139", f"Starting to serve 'nvidia.com/gpu' on {SOCKET}")
        klog("server.go:146", "Registered device plugin for 'nvidia.com/gpu' with Kubelet")
    else:
        klog("factory.go:112", "Incompatible strategy detected auto", "E")
        klog("factory.go:113", "If this is a GPU node, did you configure the NVIDIA Container Toolkit?", "E")
        klog("main.go:381", "No devices found. Waiting indefinitely.")
    received = signal.Signals(signal.sigwait(signals))
    klog("main.go:300", f'Received signal "{signal.strsignal(received)}", shutting down.')
    klog("main.go:370", "Stopping plugins.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
