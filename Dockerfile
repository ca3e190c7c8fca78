# The image that runs flows: a Prefect worker with terraform and helm. Not built where this project is tested
# (no Docker there): see docs/not-run-on-aws.md.
FROM hashicorp/terraform:1.13 AS terraform
FROM alpine/helm:3.19.0 AS helm

FROM python:3.11-slim-bookworm
COPY --from=terraform /bin/terraform /usr/local/bin/terraform
COPY --from=helm /usr/bin/helm /usr/local/bin/helm
WORKDIR /slipway
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY flows flows
COPY tasks tasks
COPY sandbox sandbox
# the lock's versions for what the product itself needs; the sandbox's and the tests' extras stay out
RUN sed -E 's/ *\\$//; /^ +--hash/d; /^ +#/d; /^#/d' requirements.lock > constraints.txt \
 && pip install --no-cache-dir --constraint constraints.txt . && rm constraints.txt
COPY infra infra
COPY k8s k8s
COPY models models
COPY environments environments
COPY prefect.yaml ./
RUN useradd --uid 10001 --create-home slipway && chown -R slipway /slipway
USER 10001
ENV SLIPWAY_HOME=/slipway
CMD ["prefect", "worker", "start", "--pool", "slipway"]
