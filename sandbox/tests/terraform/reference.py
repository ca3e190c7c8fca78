"""Makes aws_schema.json: what hashicorp/aws 6.25.0 itself says of the types the sandbox's provider answers for.

    pip download --no-deps --no-binary :all: cdktf-cdktf-provider-aws==21.22.1
    python -m tests.terraform.reference cdktf_cdktf_provider_aws-21.22.1.tar.gz

The bindings in that archive (MPL-2.0) are generated from the provider's schema; of them only names, types and "required"
are taken. Run it again when a type is added. The notation: "string", "list(string)", a "!" behind what is required; sets
appear as lists, because the bindings do not tell them apart.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

from slipway_sandbox.terraform.provider.resources import DATA_SOURCES, RESOURCES

REFERENCE = Path(__file__).with_name("aws_schema.json")
Types = dict[str, Any]
_NOT_OURS = {
    "connection", "count", "dependsOn", "forEach", "lifecycle", "provider", "provisioners", "fqn", "cdktfStack",
    "friendlyUniqueId", "constructNodeMetadata", "rawOverrides", "terraformGeneratorMetadata",
    "terraformMetaArguments", "terraformResourceType", "node",
}  # fmt: skip


def bindings(archive: Path) -> Types:
    """The types of the bindings' assembly (a tar in a tar)."""
    with tarfile.open(archive) as outer:
        name = next(name for name in outer.getnames() if name.endswith(".jsii.tgz"))
        member = outer.extractfile(name)
        assert member is not None
        with tarfile.open(fileobj=io.BytesIO(member.read())) as inner:
            assembly = inner.extractfile("package/.jsii")
            assert assembly is not None
            types: Types = json.loads(assembly.read())["types"]
            return types


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def terraform_name(member: dict[str, Any]) -> str:
    """Terraform's own spelling, which the documentation's links end in."""
    documentation = member.get("docs", {})
    link = re.search(r"#(\w+) ", documentation.get("summary", "") + documentation.get("remarks", ""))
    return link.group(1) if link else snake(member["name"])


def notation(kind: dict[str, Any]) -> tuple[str, str | None]:
    """(type as text, the struct behind it where it is a block)"""
    if "primitive" in kind:
        return {"boolean": "bool"}.get(kind["primitive"], kind["primitive"]), None
    if "collection" in kind:
        container = {"array": "list"}.get(kind["collection"]["kind"], kind["collection"]["kind"])
        inner, struct = notation(kind["collection"]["elementtype"])
        return f"{container}({inner})", struct
    if "union" in kind:
        return notation(next(k for k in kind["union"]["types"] if k.get("fqn") != "cdktf.IResolvable"))
    return "block", kind["fqn"]


def block(types: Types, struct: str) -> dict[str, Any]:
    attributes: dict[str, str] = {}
    blocks: dict[str, Any] = {}
    for member in types[struct].get("properties", []):
        text, inner = notation(member["type"])
        required = not member.get("optional", False)
        if inner:
            blocks[terraform_name(member)] = {
                "required": required,
                "many": text.startswith("list"),
                **block(types, inner),
            }
        else:
            attributes[terraform_name(member)] = text + ("!" if required else "")
    return {"attributes": attributes, "blocks": blocks}


def described(types: Types, terraform_type: str, *, data: bool) -> dict[str, Any]:
    camel = "".join(word.capitalize() for word in terraform_type.removeprefix("aws_").split("_"))
    wanted = ("DataAws" if data else "") + camel
    # the bindings put an A behind a name that would collide with a block's struct
    struct = next(name for name in types if name.split(".")[-1] in (f"{wanted}Config", f"{wanted}AConfig"))
    result = block(types, struct)
    settable = result["attributes"].keys() | result["blocks"].keys()
    result["computed"] = sorted(
        snake(member["name"])
        for member in types[struct.removesuffix("Config")]["properties"]
        if not member.get("static")
        and member["name"] not in _NOT_OURS
        and not member["name"].endswith("Input")
        and snake(member["name"]) not in settable
    )
    return result


def main(archive: Path) -> None:
    types = bindings(archive)
    document = {
        "source": "hashicorp/aws 6.25.0, by the bindings of cdktf-cdktf-provider-aws 21.22.1 (MPL-2.0)",
        "resources": {name: described(types, name, data=False) for name in sorted(RESOURCES)},
        "data_sources": {name: described(types, name, data=True) for name in sorted(DATA_SOURCES)},
    }
    REFERENCE.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
