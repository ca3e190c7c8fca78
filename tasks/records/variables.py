"""Variables a model's file may set in the serving container (`engine.env`): no secrets, and none that Slipway or Kubernetes sets. Pure."""

from __future__ import annotations

import re
from typing import Any

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A word of the name, or the end of one: HF_TOKEN and APIKEY, but neither TOKENIZERS_PARALLELISM nor VLLM_MAX_TOKENS_PER_EXPERT
SECRET = re.compile(r"(TOKEN|KEY|KEYS|SECRETS?|PASSWORDS?|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)
# By k8s/serving/deployment.yaml, tasks/rollout/compile_cache.py and for streamed weights; a test holds this to it.
SET_BY_SLIPWAY = (
    "VLLM_API_KEY",
    "HF_HUB_OFFLINE",
    "VLLM_NO_USAGE_STATS",
    "POD_IP",
    "POD_NAME",
    "SLIPWAY_COMPILE_CACHE",
    "AWS_REGION",
)
# By the device plugin, for the GPUs of the pod: https://github.com/NVIDIA/k8s-device-plugin
SET_FOR_THE_POD = ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
LONGEST = 4096


def checked_variables(given: Any) -> Any:
    """The map with numbers as text. Raises ValueError with the name that may not be set, and why."""
    if not isinstance(given, dict):
        return given
    return {name: _checked(str(name), value) for name, value in given.items()}


def _checked(name: str, value: Any) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a variable")
    if name in SET_BY_SLIPWAY:
        raise ValueError(f"{name} is set by Slipway: leave it out")
    if name in SET_FOR_THE_POD:
        raise ValueError(f"{name} is set for each pod, to the GPUs it was given: leave it out")
    if SECRET.search(name):
        raise ValueError(
            f"{name} looks like a secret, and a model's file is no place for one: the hub's token is HF_TOKEN in the shell "
            "or the Prefect Secret block hub-token, and pods run without it"
        )
    readable = isinstance(value, str | int | float) and not isinstance(value, bool)
    if not readable:
        raise ValueError(f'{name} is text or a number: write "1", "0" or what the program reads')
    text = str(value)
    if "\n" in text or "\0" in text or len(text) > LONGEST:
        raise ValueError(f"{name} is one line of {LONGEST} characters at most")
    return text
