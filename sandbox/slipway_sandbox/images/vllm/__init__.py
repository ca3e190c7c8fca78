"""Stand-in for vLLM 0.32.0's server: its flags, logs, memory arithmetic, wire and metrics, without GPU or torch."""

VERSION = "0.32.0"
