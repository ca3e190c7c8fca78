"""Who may ask LiteLLM for which model: its custom auth, by the same table of hashed keys that NGINX reads (gate.js).

LiteLLM keeps the limits that a key has (requests a minute). What fails here opens nothing.
"""

import hashlib
import json
import os
import time
from pathlib import Path

from litellm.proxy._types import ProxyException, UserAPIKeyAuth
from litellm.proxy.common_utils.http_parsing_utils import _read_request_body

KEYS = json.loads(Path(os.environ["SLIPWAY_KEYS"]).read_text())
# each name, alias or adapter that a request may ask for -> the model that serves it
SERVED = json.loads((Path(__file__).parent / "models.json").read_text())["models"]
NO_MODEL = "no-default-models"  # LiteLLM takes an empty list for every model


class Refused(ProxyException):
    """A refusal with the code that OpenAI's API gives: LiteLLM's own repeats the status there."""

    def __init__(self, status, message, code=None):
        super().__init__(message=message, type="invalid_request_error", param=None, code=status)
        self.given = code

    def to_dict(self):
        return {**super().to_dict(), "code": self.given}


async def check(request, api_key):
    """The key's name, models and limit. Raises Refused."""
    seen = request.scope["slipway"]
    found = entry(api_key)
    if found is None:
        raise unknown_key(api_key)
    seen["key"] = found["name"]
    opened = found["models"]
    by_path = seen["model"]
    if by_path and not may_use(opened, by_path):
        raise no_access(by_path)
    if request.method == "POST":
        asked = (await _read_request_body(request)).get("model")
        seen["model"] = model_of(asked, by_path, opened)
    names = sorted(name for name, model in SERVED.items() if may_use(opened, model))
    # by its name: a rotated key has two values and one limit, and LiteLLM's words name no hash of a value
    return UserAPIKeyAuth(
        api_key=f"slipway:{found['name']}",
        key_alias=found["name"],
        models=names or [NO_MODEL],
        rpm_limit=found.get("perMinute"),
    )


def entry(api_key):
    """The entry of a key; None where there is none, or it has ended."""
    found = KEYS.get(hashlib.sha256(api_key.encode()).hexdigest()) if api_key else None
    return found if found and (not found["expires"] or time.time() * 1000 < found["expires"]) else None


def may_use(opened, model):
    return opened is None or opened.get(model) is True


def model_of(asked, by_path, opened):
    """The model behind the name in a body. Raises Refused."""
    if not isinstance(asked, str):
        raise Refused(400, "The body of the request names no model.")
    model = SERVED.get(asked)
    if model is None or by_path not in ("", model):
        raise Refused(404, f"The model `{asked}` does not exist.", "model_not_found")
    if not may_use(opened, model):
        raise no_access(asked)
    return model


def unknown_key(api_key):
    if api_key:
        said = "Incorrect API key provided: it is unknown, revoked or expired."
        return Refused(401, said, "invalid_api_key")
    return Refused(401, "You did not provide an API key: send it as Authorization: Bearer KEY.")


def no_access(name):
    return Refused(403, f"This API key does not have access to model `{name}`.", "model_not_found")
