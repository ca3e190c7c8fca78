"""Complete vLLM's Deployment, its network policy and NGINX's configuration for OpenTelemetry traces. Pure."""

from __future__ import annotations

from typing import Any

from tasks.cloud.reachability import NAMESPACE_NAME
from tasks.records.tracing import Tracing

# NGINX makes no span: it gives a request without a trace an id, as W3C's Trace Context writes it
# (https://www.w3.org/TR/trace-context/#traceparent-header-field-values), from $request_id, which is 16 random bytes
_BEGUN = """\
split_clients $request_id $trace_flags {{
  {share}
}}
map $request_id $trace_parent {{
  "~^(?<half>.{{16}})" $half;
}}
map $http_traceparent $traceparent {{
  "" "00-$request_id-$trace_parent-$trace_flags";
  default $http_traceparent;
}}
"""
_PASSED = """\
map $http_traceparent $traceparent {
  default $http_traceparent;
}
"""


def nginx(tracing: Tracing | None) -> str:
    """What sets $traceparent, which every request to vLLM carries. An empty one is not sent."""
    if tracing is None:
        return _PASSED
    share = {0.0: "* 00;", 1.0: "* 01;"}.get(tracing.sampled, f"{tracing.sampled * 100:.2f}% 01; * 00;")
    return _BEGUN.format(share=share)


def variables(tracing: Tracing, model: str, environment: str) -> dict[str, str]:
    """Those of the SDK in vLLM (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/)."""
    return {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": tracing.protocol,
        "OTEL_RESOURCE_ATTRIBUTES": f"deployment.environment.name={environment}",
        "OTEL_SERVICE_NAME": model,
    }


def let_out(tracing: Tracing, policy: dict[str, Any]) -> None:
    """The way from vLLM to the collector, in vLLM's network policy."""
    collector = {
        "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: tracing.namespace}},
        "podSelector": {"matchLabels": dict(tracing.pod_labels)},
    }
    policy["spec"]["egress"].append({"to": [collector], "ports": [{"protocol": "TCP", "port": tracing.port}]})
