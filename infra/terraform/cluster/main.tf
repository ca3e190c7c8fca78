data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  log_group  = "/aws/eks/${var.name}/cluster" # where EKS writes; made here first, so that it is encrypted and ends

  flow_log_group = "/aws/vpc/${var.name}/flow"
  flow_logs      = var.flow_logs == "OFF" ? 0 : local.makes_network
}

resource "aws_cloudwatch_log_group" "cluster" {
  count = local.makes_cluster

  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.cluster[0].arn
}

resource "aws_eks_cluster" "this" {
  count = local.makes_cluster

  name     = var.name
  role_arn = aws_iam_role.cluster[0].arn
  version  = var.kubernetes_version

  enabled_cluster_log_types     = var.control_plane_log_types
  bootstrap_self_managed_addons = false # CNI, DNS and proxy are the managed add-ons of addons.tf

  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = var.bootstrap_cluster_creator_admin_permissions
  }

  vpc_config {
    subnet_ids              = local.subnet_ids
    endpoint_private_access = true
    endpoint_public_access  = var.endpoint_public_access
    public_access_cidrs     = var.endpoint_public_access ? var.endpoint_public_access_cidrs : null
  }

  encryption_config {
    resources = ["secrets"]

    provider {
      key_arn = aws_kms_key.cluster[0].arn
    }
  }

  lifecycle {
    # EKS reads both once, at creation, and never shows them again: after an import they would look changed, and replace it all
    ignore_changes = [
      bootstrap_self_managed_addons,
      access_config[0].bootstrap_cluster_creator_admin_permissions,
    ]
  }

  # Without the role's policies EKS can neither make nor remove its network interfaces. Without the log group it makes its own.
  depends_on = [
    aws_iam_role_policy_attachment.cluster,
    aws_cloudwatch_log_group.cluster,
  ]
}

# ---------------------------------------------------------------------------------------------------------------------
# Who may enter
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_eks_access_entry" "admin" {
  for_each = local.makes_cluster == 0 ? toset([]) : var.admin_principal_arns

  cluster_name  = local.cluster_name
  principal_arn = each.key
  type          = "STANDARD"
}

resource "aws_eks_access_policy_association" "admin" {
  for_each = local.makes_cluster == 0 ? toset([]) : var.admin_principal_arns

  cluster_name  = local.cluster_name
  principal_arn = aws_eks_access_entry.admin[each.key].principal_arn
  policy_arn    = "arn:${local.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

  access_scope {
    type = "cluster"
  }
}
