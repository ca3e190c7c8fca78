"""`python -m slipway_sandbox.terraform.provider`, started by Terraform."""

from __future__ import annotations

from slipway_sandbox.terraform.provider.resources import DATA_SOURCES, PROVIDER, RESOURCES
from slipway_sandbox.terraform.provider.server import orphaned, serve
from slipway_sandbox.terraform.provider.servicer import Provider

if __name__ == "__main__":
    serve(Provider(PROVIDER, RESOURCES, DATA_SOURCES), orphaned())
