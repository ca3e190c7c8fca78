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
  system_identities = {
    vpc-cni = { service_account = "aws-node", policy = "${local.managed_policy}/AmazonEKS_CNI_Policy" }
    ebs-csi = { service_account = "ebs-csi-controller-sa", policy = "${local.managed_policy}/service-role/AmazonEBSCSIDriverPolicy" }
  }

  # pods of the models: both only read. Who writes to the bucket stages models, and does that outside the cluster.
  model_identities = {
    serving = var.serving_service_account
    cache   = var.cache_service_account
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Control plane and nodes
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_iam_role" "cluster" {
  name               = "${var.name}-cluster"
  description        = "EKS control plane of ${var.name}"
  assume_role_policy = data.aws_iam_policy_document.trust["cluster"].json
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "${local.managed_policy}/AmazonEKSClusterPolicy"
}

resource "aws_iam_role" "node" {
  name               = "${var.name}-node"
  description        = "Nodes of ${var.name}"
  assume_role_policy = data.aws_iam_policy_document.trust["node"].json
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = toset([
    "AmazonEKSWorkerNodePolicy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonSSMManagedInstanceCore",
  ])

  role       = aws_iam_role.node.name
  policy_arn = "${local.managed_policy}/${each.key}"
}

# ---------------------------------------------------------------------------------------------------------------------
# Pods, by EKS Pod Identity
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_iam_role" "system" {
  for_each = local.system_identities

  name               = "${var.name}-${each.key}"
  description        = "${each.value.service_account} in kube-system of ${var.name}"
  assume_role_policy = data.aws_iam_policy_document.trust["pods"].json
}

resource "aws_iam_role_policy_attachment" "system" {
  for_each = local.system_identities

  role       = aws_iam_role.system[each.key].name
  policy_arn = each.value.policy
}

resource "aws_eks_pod_identity_association" "system" {
  for_each = local.system_identities

  cluster_name    = aws_eks_cluster.this.name
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

  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = [var.model_kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "model" {
  for_each = local.model_identities

  name               = "${var.name}-${each.key}"
  description        = "${each.value} in ${var.namespace} of ${var.name}"
  assume_role_policy = data.aws_iam_policy_document.trust["pods"].json
}

resource "aws_iam_role_policy" "model" {
  for_each = local.model_identities

  name   = "read-models"
  role   = aws_iam_role.model[each.key].name
  policy = data.aws_iam_policy_document.read_models.json
}

resource "aws_eks_pod_identity_association" "model" {
  for_each = local.model_identities

  cluster_name    = aws_eks_cluster.this.name
  namespace       = var.namespace
  service_account = each.value
  role_arn        = aws_iam_role.model[each.key].arn

  depends_on = [aws_iam_role_policy.model]
}
