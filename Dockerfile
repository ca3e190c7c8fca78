# The image that runs flows: a Prefect worker with terraform and helm, and the commands that its errors name. Not built where this project is tested
# (no Docker there); `make image` installs and starts what it copies: see docs/workers.md.
FROM hashicorp/terraform:1.13 AS terraform
FROM alpine/helm:3.19.0 AS helm
FROM registry.k8s.io/kubectl:v1.35.0 AS kubectl
FROM public.ecr.aws/aws-cli/aws-cli:2.31.0 AS aws

FROM python:3.11-slim-bookworm
COPY --from=terraform /bin/terraform /usr/local/bin/terraform
COPY --from=helm /usr/bin/helm /usr/local/bin/helm
COPY --from=kubectl /bin/kubectl /usr/local/bin/kubectl
COPY --from=aws /usr/local/aws-cli /usr/local/aws-cli
RUN ln -s /usr/local/aws-cli/v2/current/bin/aws /usr/local/bin/aws
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
COPY prefect.yaml automations.yaml ./
RUN useradd --uid 10001 --create-home slipway && chown -R slipway /slipway
USER 10001
ENV SLIPWAY_HOME=/slipway
# docker build --build-arg SLIPWAY_COMMIT=$(git rev-parse HEAD): .git is not in the image, and `slipway ci … --ref` compares it
ARG SLIPWAY_COMMIT
ENV SLIPWAY_COMMIT=$SLIPWAY_COMMIT
# the pool of one environment: docker run IMAGE prefect worker start --pool slipway-production
CMD ["prefect", "worker", "start", "--pool", "slipway-staging"]
