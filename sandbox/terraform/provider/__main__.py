"""`python -m sandbox.terraform.provider`, started by Terraform."""

from __future__ import annotations

from sandbox.terraform.provider.resources import DATA_SOURCES, PROVIDER, RESOURCES
from sandbox.terraform.provider.server import serve
from sandbox.terraform.provider.servicer import Provider

if __name__ == "__main__":
    serve(Provider(PROVIDER, RESOURCES, DATA_SOURCES))
