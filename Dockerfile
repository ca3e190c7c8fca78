# The image that runs flows: a Prefect worker with terraform and helm. Not built where this project is tested
# (no Docker there): see docs/not-run-on-aws.md.
FROM hashicorp/terraform:1.13 AS terraform
FROM alpine/helm:3.19.0 AS helm

FROM python:3.11-slim-bookworm
COPY --from=terraform /bin/terraform /usr/local/bin/terraform
COPY --from=helm /usr/bin/helm /usr/local/bin/helm
WORKDIR /slipway
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY flows flows
COPY tasks tasks
RUN pip install --no-cache-dir --no-deps .
COPY infra infra
COPY k8s k8s
COPY models models
COPY environments environments
COPY prefect.yaml ./
RUN useradd --uid 10001 --create-home slipway && chown -R slipway /slipway
USER 10001
ENV SLIPWAY_HOME=/slipway
CMD ["prefect", "worker", "start", "--pool", "slipway"]
