"""Keys, log groups, secrets and image caches: KMS, CloudWatch Logs, Secrets Manager, ECR."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.terraform.provider.resources.shapes import compact, retag_arn, tag_list, tag_map
from slipway_sandbox.terraform.provider.schema import (
    BOOL,
    NUMBER,
    STRING,
    State,
    computed,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, unless_gone

# ------------------------------------------------------------------ KMS


def _kms_tags(tags: dict[str, str] | None) -> list[dict[str, str]]:
    return [{"TagKey": key, "TagValue": value} for key, value in (tags or {}).items()]


def _create_key(session: Session, planned: State) -> State:
    made = session.client("kms").create_key(
        **compact(
            {
                "Description": planned["description"],
                "Policy": planned["policy"],
                "KeySpec": planned["customer_master_key_spec"],
                "KeyUsage": planned["key_usage"],
                "Tags": _kms_tags(planned["tags_all"]),
            }
        )
    )["KeyMetadata"]
    return {"id": made["KeyId"], "key_id": made["KeyId"]}


def _rotate(session: Session, state: State) -> None:
    kms = session.client("kms")
    turn = kms.enable_key_rotation if state["enable_key_rotation"] else kms.disable_key_rotation
    turn(KeyId=state["id"])


def _read_key(session: Session, state: State) -> State | None:
    kms, key = session.client("kms"), state["id"]
    shown = unless_gone(lambda: kms.describe_key(KeyId=key)["KeyMetadata"])
    if shown is None or shown["KeyState"] == "PendingDeletion":
        return None
    tags = {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=key).get("Tags", [])}
    return {
        "id": key,
        "key_id": key,
        "arn": shown["Arn"],
        "description": shown.get("Description", ""),
        "customer_master_key_spec": shown["CustomerMasterKeySpec"],
        "key_usage": shown["KeyUsage"],
        "policy": kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"],
        "enable_key_rotation": kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"],
        "tags": tags,
    }


def _update_key(session: Session, prior: State, planned: State) -> None:
    kms, key = session.client("kms"), planned["id"]
    if prior["policy"] != planned["policy"]:
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=planned["policy"])
    if prior["description"] != planned["description"]:
        kms.update_key_description(KeyId=key, Description=planned["description"] or "")
    if prior["enable_key_rotation"] != planned["enable_key_rotation"]:
        _rotate(session, planned)


def _retag_key(session: Session, state: State, removed: list[str], added: dict[str, str]) -> None:
    kms, key = session.client("kms"), state["id"]
    if removed:
        kms.untag_resource(KeyId=key, TagKeys=removed)
    if added:
        kms.tag_resource(KeyId=key, Tags=_kms_tags(added))


def _delete_key(session: Session, state: State) -> None:
    window = {"KeyId": state["id"], "PendingWindowInDays": state.get("deletion_window_in_days")}
    unless_gone(lambda: session.client("kms").schedule_key_deletion(**compact(window)))


KEY = resource(
    {
        "description": optional(STRING, computed=True),
        "policy": optional(STRING, computed=True, document=True),
        "customer_master_key_spec": optional(STRING, default="SYMMETRIC_DEFAULT", forces_new=True),
        "key_usage": optional(STRING, default="ENCRYPT_DECRYPT", forces_new=True),
        "enable_key_rotation": optional(BOOL, default=False),
        "deletion_window_in_days": optional(NUMBER),
        "arn": computed(STRING),
        "key_id": computed(STRING),
    },
    create=_create_key,
    settle=lambda session, state: _rotate(session, state) if state["enable_key_rotation"] else None,
    read=_read_key,
    update=_update_key,
    retag=_retag_key,
    delete=_delete_key,
)


def _create_alias(session: Session, planned: State) -> State:
    session.client("kms").create_alias(AliasName=planned["name"], TargetKeyId=planned["target_key_id"])
    return {"id": planned["name"]}


def _read_alias(session: Session, state: State) -> State | None:
    kms = session.client("kms")
    for page in kms.get_paginator("list_aliases").paginate():
        for alias in page["Aliases"]:
            if alias["AliasName"] == state["id"] and alias.get("TargetKeyId"):
                key = alias["TargetKeyId"]
                return {
                    "id": state["id"],
                    "name": state["id"],
                    # a configuration may name the key by ARN or by id: either is kept while it is the same key
                    "target_key_id": _same_key(state.get("target_key_id"), key),
                }
    return None


def _same_key(configured: Any, key: str) -> str:
    return configured if isinstance(configured, str) and configured.rsplit("/", 1)[-1] == key else key


ALIAS = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "target_key_id": required(STRING),
    },
    create=_create_alias,
    read=_read_alias,
    update=lambda session, _prior, planned: session.client("kms").update_alias(
        AliasName=planned["id"], TargetKeyId=planned["target_key_id"]
    ),
    delete=lambda session, state: unless_gone(
        lambda: session.client("kms").delete_alias(AliasName=state["id"])
    ),
)

# ------------------------------------------------------------------ CloudWatch Logs


def _create_log_group(session: Session, planned: State) -> State:
    wish = {"logGroupName": planned["name"], "kmsKeyId": planned["kms_key_id"], "tags": planned["tags_all"]}
    session.client("logs").create_log_group(**compact(wish))
    return {"id": planned["name"], "arn": session.arn("logs", f"log-group:{planned['name']}")}


def _keep_logs(session: Session, state: State) -> None:
    logs, name = session.client("logs"), state["id"]
    if state["retention_in_days"]:
        logs.put_retention_policy(logGroupName=name, retentionInDays=state["retention_in_days"])
    else:
        logs.delete_retention_policy(logGroupName=name)


def _read_log_group(session: Session, state: State) -> State | None:
    logs, name = session.client("logs"), state["id"]
    groups = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    shown = next((group for group in groups if group["logGroupName"] == name), None)
    if shown is None:
        return None
    arn = shown["arn"].removesuffix(":*")
    return {
        "id": name,
        "name": name,
        "arn": arn,
        "retention_in_days": shown.get("retentionInDays", 0),
        "kms_key_id": shown.get("kmsKeyId"),
        "tags": logs.list_tags_for_resource(resourceArn=arn).get("tags", {}),
    }


def _update_log_group(session: Session, prior: State, planned: State) -> None:
    logs = session.client("logs")
    if prior["retention_in_days"] != planned["retention_in_days"]:
        _keep_logs(session, planned)
    if planned["kms_key_id"] and prior["kms_key_id"] != planned["kms_key_id"]:
        logs.associate_kms_key(logGroupName=planned["id"], kmsKeyId=planned["kms_key_id"])


LOG_GROUP = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "retention_in_days": optional(NUMBER, default=0),
        "kms_key_id": optional(STRING),
        "arn": computed(STRING),
    },
    create=_create_log_group,
    settle=lambda session, state: _keep_logs(session, state) if state["retention_in_days"] else None,
    read=_read_log_group,
    update=_update_log_group,
    retag=retag_arn("logs", "arn"),
    delete=lambda session, state: unless_gone(
        lambda: session.client("logs").delete_log_group(logGroupName=state["id"])
    ),
)

# ------------------------------------------------------------------ Secrets Manager


def _create_secret(session: Session, planned: State) -> State:
    made = session.client("secretsmanager").create_secret(
        **compact(
            {
                "Name": planned["name"],
                "Description": planned["description"],
                "KmsKeyId": planned["kms_key_id"],
                "Tags": tag_list(planned["tags_all"]),
            }
        )
    )
    return {"id": made["ARN"], "arn": made["ARN"]}


def _read_secret(session: Session, state: State) -> State | None:
    secrets = session.client("secretsmanager")
    shown = unless_gone(lambda: secrets.describe_secret(SecretId=state["id"]))
    if shown is None or shown.get("DeletedDate"):
        return None
    return {
        "id": shown["ARN"],
        "arn": shown["ARN"],
        "name": shown["Name"],
        "description": shown.get("Description") or "",
        "kms_key_id": shown.get("KmsKeyId") or "",
        "tags": tag_map(shown.get("Tags")),
    }


def _update_secret(session: Session, prior: State, planned: State) -> None:
    wish = {"Description": planned["description"], "KmsKeyId": planned["kms_key_id"]}
    session.client("secretsmanager").update_secret(SecretId=planned["id"], **compact(wish))


def _retag_secret(session: Session, state: State, removed: list[str], added: dict[str, str]) -> None:
    secrets = session.client("secretsmanager")
    if removed:
        secrets.untag_resource(SecretId=state["id"], TagKeys=removed)
    if added:
        secrets.tag_resource(SecretId=state["id"], Tags=tag_list(added))


def _delete_secret(session: Session, state: State) -> None:
    days = state.get("recovery_window_in_days")
    how = {"ForceDeleteWithoutRecovery": True} if days == 0 else {"RecoveryWindowInDays": days or 30}
    unless_gone(lambda: session.client("secretsmanager").delete_secret(SecretId=state["id"], **how))


SECRET = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "description": optional(STRING),
        "kms_key_id": optional(STRING),
        "recovery_window_in_days": optional(NUMBER, default=30),
        "arn": computed(STRING),
    },
    create=_create_secret,
    read=_read_secret,
    update=_update_secret,
    retag=_retag_secret,
    delete=_delete_secret,
)

# ------------------------------------------------------------------ ECR


def _create_cache_rule(session: Session, planned: State) -> State:
    made = session.client("ecr").create_pull_through_cache_rule(
        **compact(
            {
                "ecrRepositoryPrefix": planned["ecr_repository_prefix"],
                "upstreamRegistryUrl": planned["upstream_registry_url"],
                "credentialArn": planned["credential_arn"],
            }
        )
    )
    return {"id": made["ecrRepositoryPrefix"]}


def _read_cache_rule(session: Session, state: State) -> State | None:
    ecr = session.client("ecr")
    shown = unless_gone(lambda: ecr.describe_pull_through_cache_rules(ecrRepositoryPrefixes=[state["id"]]))
    rules = (shown or {}).get("pullThroughCacheRules")
    if not rules:
        return None
    return {
        "id": state["id"],
        "ecr_repository_prefix": state["id"],
        "upstream_registry_url": rules[0]["upstreamRegistryUrl"],
        "credential_arn": rules[0].get("credentialArn"),
    }


def _update_cache_rule(session: Session, prior: State, planned: State) -> None:
    session.client("ecr").update_pull_through_cache_rule(
        ecrRepositoryPrefix=planned["id"], **compact({"credentialArn": planned["credential_arn"]})
    )


def _delete_cache_rule(session: Session, state: State) -> None:
    ecr = session.client("ecr")
    unless_gone(lambda: ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix=state["id"]))


CACHE_RULE = resource(
    {
        "ecr_repository_prefix": required(STRING, forces_new=True),
        "upstream_registry_url": required(STRING, forces_new=True),
        "credential_arn": optional(STRING),
    },
    create=_create_cache_rule,
    read=_read_cache_rule,
    update=_update_cache_rule,
    delete=_delete_cache_rule,
)

RESOURCES = {
    "aws_kms_key": KEY,
    "aws_kms_alias": ALIAS,
    "aws_cloudwatch_log_group": LOG_GROUP,
    "aws_secretsmanager_secret": SECRET,
    "aws_ecr_pull_through_cache_rule": CACHE_RULE,
}
