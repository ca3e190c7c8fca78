"""Write the IAM policies of infra/iam for an environment, or into the docs.

    python -m tools.iam_policies render -e staging --account 111122223333 --to FOLDER
    python -m tools.iam_policies docs

FOLDER gets one NAME.json a policy, as `aws iam create-policy --policy-document file://…` and `slipway sandbox up --iam FOLDER`
take them. `docs` writes the templates into docs/running-on-aws.md, each below its line `<!-- infra/iam/NAME.json -->`.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tasks.records.catalogue import load_environment
from tasks.records.environment import Environment

ROOT = Path(__file__).resolve().parent.parent
POLICIES = ROOT / "infra" / "iam"
DOCS = ROOT / "docs" / "running-on-aws.md"
PLACEHOLDER = re.compile(r"\b(ACCOUNT|REGION|NAME|ENVIRONMENT|EXISTING_CLUSTER|MODEL_BUCKET|STATE_BUCKET)\b")
OWN_ROLES = '"arn:aws:iam::ACCOUNT:role/NAME-*"'
BLOCK = re.compile(r"(<!-- infra/iam/([\w-]+)\.json -->\n)```json\n.*?```\n", re.DOTALL)


def templates() -> dict[str, str]:
    """The policies' texts by name, with their placeholders."""
    return {file.stem: file.read_text() for file in sorted(POLICIES.glob("*.json"))}


def rendered(template: str, environment: Environment, account: str) -> str:
    """A policy for one environment in one account."""
    values = {
        "ACCOUNT": account,
        "REGION": environment.region,
        "NAME": environment.cluster.name,
        "ENVIRONMENT": environment.name,
        "EXISTING_CLUSTER": environment.eks_cluster,
        "MODEL_BUCKET": environment.storage.model_bucket,
        "STATE_BUCKET": environment.storage.state_bucket,
    }
    if environment.iam.path != "/":
        # by which of the two AWS judges a role that is not there yet was not seen
        moved = OWN_ROLES.replace(":role/", f":role{environment.iam.path}")
        template = template.replace(OWN_ROLES, f"[{moved}, {OWN_ROLES}]")
    return PLACEHOLDER.sub(lambda found: values[found[0]], template)


def with_templates(text: str) -> str:
    """The document with each block as its file is. Raises KeyError for a block whose file is gone."""
    known = templates()
    return BLOCK.sub(lambda found: f"{found[1]}```json\n{known[found[2]]}```\n", text)


def render(environment: Environment, account: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, template in templates().items():
        (folder / f"{name}.json").write_text(rendered(template, environment, account))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.iam_policies", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("docs", help="write them into docs/running-on-aws.md")
    command = commands.add_parser("render", help="write them for an environment")
    command.add_argument("-e", "--environment", required=True)
    command.add_argument("--account", help="default: the environment's own")
    command.add_argument("--to", type=Path, required=True, help="a folder")
    given = parser.parse_args()
    if given.command == "docs":
        DOCS.write_text(with_templates(DOCS.read_text()))
        return
    environment = load_environment(given.environment)
    account = given.account or environment.account
    if not account:
        parser.error(f"environments/{environment.name}.yaml has no account: give --account")
    render(environment, account, given.to)


if __name__ == "__main__":
    main()
