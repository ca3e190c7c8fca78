data "aws_iam_policy_document" "trust" {
  for_each = {
    cluster = { service = "eks.amazonaws.com", actions = ["sts:AssumeRole"] }
    node    = { service = "ec2.amazonaws.com", actions = ["sts:AssumeRole"] }
    pods    = { service = "pods.eks.amazonaws.com", actions = ["sts:AssumeRole", "sts:TagSession"] }
  }

  statement {
    actions = each.value.actions

    principals {
      type        = "Service"
      identifiers = [each.value.service]
    }
  }
}

locals {
  managed_policy = "arn:${local.partition}:iam::aws:policy"

  # kube-system pods with a role of their own, so that the nodes' role need not carry these rights for every pod on them
  all_system_identities = {
    vpc-cni = { service_account = "aws-node", policy = "${local.managed_policy}/AmazonEKS_CNI_Policy" }
    ebs-csi = { service_account = "ebs-csi-controller-sa", policy = "${local.managed_policy}/service-role/AmazonEBSCSIDriverPolicy" }
  }
  system_identities = { for name, identity in local.all_system_identities : name => identity if local.makes_cluster == 1 }

  # The pods that warm caches read models. Who writes to the bucket stages models, and does that outside the cluster;
  # the serving pods read their volume alone and have no role, but for models that are streamed.
  model_identities = {
    cache = var.cache_service_account
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Control plane and nodes
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_iam_role" "cluster" {
  count = local.makes_cluster

  name                 = "${var.name}-cluster"
  description          = "EKS control plane of ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust["cluster"].json
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy_attachment" "cluster" {
  count = local.makes_cluster

  role       = aws_iam_role.cluster[0].name
  policy_arn = "${local.managed_policy}/AmazonEKSClusterPolicy"
}

resource "aws_iam_role" "node" {
  count = local.makes_nodes

  name                 = "${var.name}-node"
  description          = "Nodes of ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust["node"].json
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = local.makes_nodes == 0 ? toset([]) : toset([
    "AmazonEKSWorkerNodePolicy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonSSMManagedInstanceCore",
  ])

  role       = aws_iam_role.node[0].name
  policy_arn = "${local.managed_policy}/${each.key}"
}

# A node's first pull of an image through the cache makes its repository; EKS's managed policy lets it pull and no more.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-iam.html
data "aws_iam_policy_document" "image_cache" {
  statement {
    actions   = ["ecr:CreateRepository", "ecr:BatchImportUpstreamImage"]
    resources = ["arn:${local.partition}:ecr:${var.region}:${local.account_id}:repository/${var.image_cache_prefix}/*"]
  }
}

resource "aws_iam_role_policy" "image_cache" {
  count = var.image_cache_prefix == "" ? 0 : local.makes_nodes

  name   = "image-cache"
  role   = aws_iam_role.node[0].name
  policy = data.aws_iam_policy_document.image_cache.json
}

# ---------------------------------------------------------------------------------------------------------------------
# Pods, by EKS Pod Identity
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_iam_role" "system" {
  for_each = local.system_identities

  name                 = "${var.name}-${each.key}"
  description          = "${each.value.service_account} in kube-system of ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust["pods"].json
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy_attachment" "system" {
  for_each = local.system_identities

  role       = aws_iam_role.system[each.key].name
  policy_arn = each.value.policy
}

resource "aws_eks_pod_identity_association" "system" {
  for_each = local.system_identities

  cluster_name    = local.cluster_name
  namespace       = "kube-system"
  service_account = each.value.service_account
  role_arn        = aws_iam_role.system[each.key].arn

  depends_on = [aws_iam_role_policy_attachment.system]
}

data "aws_iam_policy_document" "read_models" {
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [var.model_bucket_arn]
  }

  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = ["${var.model_bucket_arn}/*"]
  }

  dynamic "statement" {
    for_each = var.model_kms_key_arn == "" ? [] : [var.model_kms_key_arn]
    content {
      sid       = "Decrypt"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["s3.${var.region}.amazonaws.com"]
      }
    }
  }
}

resource "aws_iam_role" "model" {
  for_each = local.model_identities

  name                 = "${var.name}-${each.key}"
  description          = "${each.value} in ${var.namespace} of ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust["pods"].json
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "model" {
  for_each = local.model_identities

  name   = "read-models"
  role   = aws_iam_role.model[each.key].name
  policy = data.aws_iam_policy_document.read_models.json
}

resource "aws_eks_pod_identity_association" "model" {
  for_each = local.model_identities

  cluster_name    = local.cluster_name
  namespace       = var.namespace
  service_account = each.value
  role_arn        = aws_iam_role.model[each.key].arn

  depends_on = [aws_iam_role_policy.model]
}

# A model that is streamed from S3 reads its own prefixes, and no other model's.

data "aws_iam_policy_document" "stream" {
  for_each = var.streamed_models

  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [var.model_bucket_arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = [for prefix in each.value : "${prefix}/*"]
    }
  }

  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = [for prefix in each.value : "${var.model_bucket_arn}/${prefix}/*"]
  }

  dynamic "statement" {
    for_each = var.model_kms_key_arn == "" ? [] : [var.model_kms_key_arn]
    content {
      sid       = "Decrypt"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["s3.${var.region}.amazonaws.com"]
      }
    }
  }
}

resource "aws_iam_role" "stream" {
  for_each = var.streamed_models

  # of the model's name a digest: a role's name has 64 characters at most
  name                 = "${var.name}-stream-${substr(sha256(each.key), 0, 8)}"
  description          = "vllm-${each.key} in ${var.namespace} of ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust["pods"].json
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "stream" {
  for_each = var.streamed_models

  name   = "read-weights"
  role   = aws_iam_role.stream[each.key].name
  policy = data.aws_iam_policy_document.stream[each.key].json
}

resource "aws_eks_pod_identity_association" "stream" {
  for_each = var.streamed_models

  cluster_name    = local.cluster_name
  namespace       = var.namespace
  service_account = "vllm-${each.key}"
  role_arn        = aws_iam_role.stream[each.key].arn

  depends_on = [aws_iam_role_policy.stream]
}
