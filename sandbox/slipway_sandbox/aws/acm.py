"""Certificates that are imported into ACM: kept in files, for the load balancers that speak TLS by them."""

from __future__ import annotations

import shutil
from typing import Any

from moto.acm.models import AWSCertificateManagerBackend

from slipway_sandbox.settings import Settings


def extend(settings: Settings) -> None:
    """Write what ImportCertificate brings to a file of its own; moto answers as before. Empties the folder."""
    folder = settings.certificate_file("").parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    by_moto = AWSCertificateManagerBackend.import_certificate

    def import_certificate(self: Any, *args: Any, **kwargs: Any) -> str:
        arn = str(by_moto(self, *args, **kwargs))
        bundle = self.get_certificate(arn)
        file = settings.certificate_file(arn)
        partial = file.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_bytes(b"\n".join((bundle.key, bundle.cert, bundle.chain)))
        partial.replace(file)
        return arn

    AWSCertificateManagerBackend.import_certificate = import_certificate
