"""Put together: moto, and what the sandbox has of its own in front of it."""

from __future__ import annotations

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from sandbox.aws import identity
from sandbox.aws.eks import Eks
from sandbox.aws.front import Front
from sandbox.aws.http import Application, Server, make_server
from sandbox.aws.s3 import S3
from sandbox.aws.wire import JsonApi
from sandbox.faults import Faults
from sandbox.settings import Settings


def build(settings: Settings) -> Server:
    """A server bound to 127.0.0.1:settings.aws_port; `serve_forever` runs it."""
    faults = Faults(settings.faults_file)
    identity.add_operator(settings.region)
    eks = Eks(settings, faults)
    s3 = S3(settings, faults)
    services: dict[str, Application] = {"eks": JsonApi("eks", eks), "s3": s3}
    moto = DomainDispatcherApplication(create_backend_app)
    return make_server("127.0.0.1", settings.aws_port, Front(services, moto))
