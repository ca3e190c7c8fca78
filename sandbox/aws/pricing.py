"""The Price List Query API for EC2 instances, from a dated table of examples (prices.json)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from sandbox.aws.wire import AwsError, Caller, Document

TABLE: Document = json.loads((Path(__file__).parent / "prices.json").read_text())
SERVICE = "AmazonEC2"
ON_DEMAND = "JRTCKXETXF"  # the offer term code of On-Demand
PER_HOUR = "6YS6EN2CT7"  # the rate code of a price an hour


class Pricing:
    """DescribeServices, GetAttributeValues and GetProducts. A price list entry is a JSON text, as in the real API."""

    def describe_services(self, parameters: Document, caller: Caller) -> Document:
        if parameters.get("ServiceCode", SERVICE) != SERVICE:
            raise AwsError("NotFoundException", f"no service {parameters['ServiceCode']}")
        return {
            "FormatVersion": "aws_v1",
            "Services": [
                {"ServiceCode": SERVICE, "AttributeNames": sorted(next(_products())["product"]["attributes"])}
            ],
        }

    def get_attribute_values(self, parameters: Document, caller: Caller) -> Document:
        name = parameters["AttributeName"]
        values = {p["product"]["attributes"].get(name) for p in _products()} - {None}
        return {"AttributeValues": [{"Value": value} for value in sorted(values)]}

    def get_products(self, parameters: Document, caller: Caller) -> Document:
        """`Filters` are all of type TERM_MATCH (or EQUALS); fields nobody knows match nothing."""
        if parameters.get("ServiceCode") != SERVICE:
            return {"FormatVersion": "aws_v1", "PriceList": []}
        filters = parameters.get("Filters") or []
        for each in filters:
            if each["Type"] not in ("TERM_MATCH", "EQUALS"):
                raise AwsError(
                    "InvalidParameterException", f"the filter type {each['Type']} is not supported"
                )
        found = [product for product in _products() if all(_matches(product, each) for each in filters)]
        start, size = int(parameters.get("NextToken") or 0), int(parameters.get("MaxResults") or 100)
        rest = start + size < len(found)
        return {
            "FormatVersion": "aws_v1",
            "PriceList": [json.dumps(product) for product in found[start : start + size]],
            "NextToken": str(start + size) if rest else None,
        }


def _matches(product: Document, wanted: Document) -> bool:
    value = product["product"]["attributes"].get(wanted["Field"])
    return value is not None and value.lower() == str(wanted["Value"]).lower()


def _products() -> Iterator[Document]:
    """One product a region and instance type: Linux, shared tenancy, nothing preinstalled."""
    for region, (location, factor) in TABLE["regions"].items():
        for name, instance in TABLE["instances"].items():
            sku = hashlib.sha256(f"{region} {name}".encode()).hexdigest()[:16].upper()
            usd = f"{instance['usd'] * factor:.10f}"
            yield {
                "product": {
                    "productFamily": "Compute Instance",
                    "sku": sku,
                    "attributes": _attributes(region, location, name, instance),
                },
                "serviceCode": SERVICE,
                "terms": {"OnDemand": {f"{sku}.{ON_DEMAND}": _term(sku, name, usd)}},
                "version": TABLE["date"].replace("-", "") + "000000",
                "publicationDate": TABLE["date"] + "T00:00:00Z",
            }


def _attributes(region: str, location: str, name: str, instance: Document) -> dict[str, str]:
    attributes = {
        "instanceType": name,
        "instanceFamily": instance["family"],
        "vcpu": str(instance["vcpu"]),
        "memory": instance["memory"],
        "regionCode": region,
        "location": location,
        "locationType": "AWS Region",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "licenseModel": "No License required",
        "operation": "RunInstances",
        "marketoption": "OnDemand",
        "servicecode": SERVICE,
    }
    return attributes | ({"gpu": str(instance["gpu"])} if instance["gpu"] else {})


def _term(sku: str, name: str, usd: str) -> Document:
    rate = f"{sku}.{ON_DEMAND}.{PER_HOUR}"
    return {
        "sku": sku,
        "offerTermCode": ON_DEMAND,
        "effectiveDate": TABLE["date"] + "T00:00:00Z",
        "termAttributes": {},
        "priceDimensions": {
            rate: {
                "rateCode": rate,
                "unit": "Hrs",
                "beginRange": "0",
                "endRange": "Inf",
                "description": f"${usd} per On Demand Linux {name} Instance Hour (an example, see prices.json)",
                "appliesTo": [],
                "pricePerUnit": {"USD": usd},
            }
        },
    }
