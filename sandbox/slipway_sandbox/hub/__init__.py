"""A Hugging Face Hub on loopback that the real huggingface_hub client accepts."""

from slipway_sandbox.hub.server import Hub, start_hub

__all__ = ["Hub", "start_hub"]
