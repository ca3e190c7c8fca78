"""The Price List Query API for EKS, EC2 instances, NAT gateways and EBS, from a dated table of examples (prices.json)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from slipway_sandbox.aws.wire import AwsError, Caller, Document

TABLE: Document = json.loads((Path(__file__).parent / "prices.json").read_text())
ON_DEMAND = "JRTCKXETXF"  # the offer term code of On-Demand
PER_HOUR = "6YS6EN2CT7"  # the rate code of a price an hour


class Pricing:
    """GetProducts. A price list entry is a JSON text, as in the real API."""

    def get_products(self, parameters: Document, caller: Caller) -> Document:
        """`Filters` are all of type TERM_MATCH (or EQUALS); fields nobody knows match nothing."""
        filters = parameters.get("Filters") or []
        for each in filters:
            if each["Type"] not in ("TERM_MATCH", "EQUALS"):
                raise AwsError(
                    "InvalidParameterException", f"the filter type {each['Type']} is not supported"
                )
        found = [
            product
            for product in _products()
            if product["serviceCode"] == parameters.get("ServiceCode")
            and all(_matches(product, each) for each in filters)
        ]
        start, size = int(parameters.get("NextToken") or 0), int(parameters.get("MaxResults") or 100)
        rest = start + size < len(found)
        return {
            "FormatVersion": "aws_v1",
            "PriceList": [json.dumps(product) for product in found[start : start + size]],
            "NextToken": str(start + size) if rest else None,
        }


def _matches(product: Document, wanted: Document) -> bool:
    fields = product["product"]["attributes"] | {"productFamily": product["product"]["productFamily"]}
    value = fields.get(wanted["Field"])
    return value is not None and value.lower() == str(wanted["Value"]).lower()


def _products() -> Iterator[Document]:
    """One product a region and instance type (Linux, shared tenancy, nothing preinstalled) or kind of EBS usage."""
    for region, (location, factor) in TABLE["regions"].items():
        for name, instance in TABLE["instances"].items():
            what = f"On Demand Linux {name} Instance Hour"
            attributes = _attributes(region, location, name, instance)
            yield _product("Compute Instance", attributes, name, instance["usd"] * factor, "Hrs", what)
        for sold in TABLE["hours"]:
            prefix = TABLE["usage_prefixes"][region] or ("USE1-" if sold["service"] == "AmazonEKS" else "")
            usage = prefix + sold["usage"]
            attributes = _place(region, location, sold["service"]) | {"usagetype": usage}
            price = sold["usd"] * (1.0 if sold["service"] == "AmazonEKS" else factor)
            yield _product(sold["family"], attributes, usage, price, "Hrs", f"{usage} hour")
        for sold in TABLE["ebs"]:
            usage = TABLE["usage_prefixes"][region] + sold["usage"]
            attributes = _place(region, location) | {"usagetype": usage}
            if "volumeApiName" in sold:
                attributes["volumeApiName"] = sold["volumeApiName"]
            yield _product(
                sold["family"],
                attributes,
                usage,
                sold["usd"] * factor,
                sold["unit"],
                f"{usage} {sold['unit']}",
            )


def _product(
    family: str, attributes: dict[str, str], name: str, price: float, unit: str, what: str
) -> Document:
    sku = hashlib.sha256(f"{attributes['regionCode']} {name}".encode()).hexdigest()[:16].upper()
    return {
        "product": {"productFamily": family, "sku": sku, "attributes": attributes},
        "serviceCode": attributes["servicecode"],
        "terms": {"OnDemand": {f"{sku}.{ON_DEMAND}": _term(sku, f"{price:.10f}", unit, what)}},
        "version": TABLE["date"].replace("-", "") + "000000",
        "publicationDate": TABLE["date"] + "T00:00:00Z",
    }


def _place(region: str, location: str, service: str = "AmazonEC2") -> dict[str, str]:
    return {
        "regionCode": region,
        "location": location,
        "locationType": "AWS Region",
        "servicecode": service,
    }


def _attributes(region: str, location: str, name: str, instance: Document) -> dict[str, str]:
    attributes = {
        "instanceType": name,
        "instanceFamily": instance["family"],
        "vcpu": str(instance["vcpu"]),
        "memory": instance["memory"],
        **_place(region, location),
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "licenseModel": "No License required",
        "operation": "RunInstances",
        "marketoption": "OnDemand",
    }
    return attributes | ({"gpu": str(instance["gpu"])} if instance["gpu"] else {})


def _term(sku: str, usd: str, unit: str, what: str) -> Document:
    rate = f"{sku}.{ON_DEMAND}.{PER_HOUR}"
    return {
        "sku": sku,
        "offerTermCode": ON_DEMAND,
        "effectiveDate": TABLE["date"] + "T00:00:00Z",
        "termAttributes": {},
        "priceDimensions": {
            rate: {
                "rateCode": rate,
                "unit": unit,
                "beginRange": "0",
                "endRange": "Inf",
                "description": f"${usd} per {what} (an example, see prices.json)",
                "appliesTo": [],
                "pricePerUnit": {"USD": usd},
            }
        },
    }
