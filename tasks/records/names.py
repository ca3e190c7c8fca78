"""Names, labels and annotations that more than one stage writes or looks for.

`slipway.dev/…` are keys of Kubernetes objects; `slipway:…` are keys of AWS tags, which allow no other prefix here.
"""

from __future__ import annotations

from tasks.records.model import Model

GPU = "nvidia.com/gpu"  # the extended resource of NVIDIA's device plugin

VLLM = "vllm"  # `app` label of serving pods, and the name of their container
VLLM_PORT = 8000
GATEWAY = "llm-gateway"  # Deployment, Service and `app` label of the gateway
HOLDER = (
    "llm-holder"  # what holds requests for sleeping models: its Deployment, Service, account and `app` label
)
VALIDATION = "slipway-validation"  # `app` label of the Jobs that ask the gateway, and their NetworkPolicy
CACHE = "model-cache"  # `app` label of everything warming makes, and its ServiceAccount

MODEL_LABEL = "slipway.dev/model"
WEIGHTS_LABEL = "slipway.dev/weights"  # "stream" on pods that read their weights from S3
RUN_LABEL = "slipway.dev/run"  # of what a run makes for itself and removes
RELEASE_ANNOTATION = "slipway.dev/release"
REPO_KEY = "slipway.dev/repo"
COMMIT_KEY = "slipway.dev/commit"

KEY_SECRET = "slipway-api-key"  # noqa: S105  the name of a Secret: what the gateway shows vLLM, and no client has
OWN_KEY_SECRET = "slipway-own-key"  # noqa: S105  the client's key that gate and load ask with
CLIENTS_SECRET = "slipway-gateway-keys"  # noqa: S105  hashes of every client's key
KEY_ENTRY = "api-key"  # of the data of the first two
CLIENTS_ANNOTATION = "slipway.dev/keys"  # digest of the hashes, on their Secret and on the gateway's pods

WAKE_ANNOTATION = "slipway.dev/wake"  # of a ScaledObject: who woke the model last, and when
EXPECTED_ANNOTATION = "slipway.dev/expected-start"  # of a ScaledObject: seconds its next start will take

MANAGED_BY = "app.kubernetes.io/managed-by"  # "slipway" on the namespace

ENVIRONMENT_TAG = "slipway:environment"
MODEL_TAG = "slipway:model"
REPO_TAG = "slipway:repo"
COMMIT_TAG = "slipway:commit"
MANIFEST_TAG = "slipway:manifest"

# Prefect's Webhook block that `slipway prefect apply --webhook` saves: who is told of runs and of alerts
WEBHOOK_BLOCK = "slipway-report"

# before the commit of the project's files, in a tag of a run in Prefect
RUN_COMMIT_TAG = "commit:"


def workload(model: Model) -> str:
    """The Deployment, the Service and the ScaledObject of a model."""
    return f"vllm-{model.name}"


def serving_selector(model: Model) -> str:
    """The label selector of a model's serving pods."""
    return f"{MODEL_LABEL}={model.name}"


def green_label(model: Model) -> str:
    """The model label of blue-green's second set of pods. No model has that name: names have no dot."""
    return f"{model.name}.green"


def model_labels(model: Model) -> tuple[str, str]:
    """The values of the model label that its serving pods carry."""
    return model.name, green_label(model)


def cache_claim(model: Model) -> str:
    """The PersistentVolumeClaim of a model's weights."""
    return f"{CACHE}-{model.name}"


def cache_selector(model: Model) -> str:
    """The label selector of everything warming makes for a model."""
    return f"app={CACHE},model={model.name}"


def cache_path(repo: str, commit: str) -> str:
    """Where a commit is below the cache volume's root; vLLM gets it as its model, under /models/."""
    return f"{repo.replace('/', '--')}/{commit}"


def staged_prefix(repo: str, commit: str) -> str:
    """Where a commit is in the model bucket, without a slash at the end."""
    return f"{repo}/{commit}"
