"""WHERE spans of requests go: an OpenTelemetry collector in the cluster."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from tasks.records.record import Record


class Tracing(Record):
    """vLLM sends a span of each sampled request there by OTLP; the gateway begins the trace."""

    endpoint: str = Field(
        description="of the collector, as pods reach it: http://NAME.NAMESPACE:4317 for grpc, …:4318/v1/traces for http/protobuf",
        examples=["http://otel-collector.observability:4317"],
    )
    protocol: Literal["grpc", "http/protobuf"] = "grpc"
    namespace: str = Field(
        description="of the collector's pods: the network policy of vLLM lets spans out to it"
    )
    pod_labels: dict[str, str] = Field(
        min_length=1,
        description="of the collector's pods",
        examples=[{"app.kubernetes.io/name": "opentelemetry-collector"}],
    )
    sampled: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of the requests without a trace of their own; one with it decides by its own flag",
    )

    @field_validator("endpoint")
    @classmethod
    def _a_url_with_a_port(cls, endpoint: str) -> str:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port is None:
            raise ValueError(f"must be http(s)://HOST:PORT, with the path of http/protobuf: {endpoint}")
        return endpoint

    @model_validator(mode="after")
    def _grpc_without_tls(self) -> Self:
        """vLLM 0.32.0 opens an insecure channel for grpc, whatever the URL says: vllm/tracing/otel.py, get_span_exporter."""
        if self.protocol == "grpc" and urlsplit(self.endpoint).scheme == "https":
            raise ValueError(
                "vLLM speaks grpc to a collector without TLS: use http://, or protocol: http/protobuf"
            )
        return self

    @property
    def port(self) -> int:
        return urlsplit(self.endpoint).port or 0
