# What exists already is given by variables and only read; everything else is made here.
locals {
  makes_cluster   = var.existing_cluster == null ? 1 : 0
  makes_network   = var.existing_cluster == null && var.existing_network == null ? 1 : 0
  uses_karpenter  = var.gpu_provisioner == "karpenter" ? 1 : 0
  makes_gpu_nodes = var.existing_gpu_node_group == "" && local.uses_karpenter == 0 ? 1 : 0
  made_nodes      = concat(local.makes_cluster == 1 ? ["system"] : [], local.makes_gpu_nodes == 1 ? ["gpu"] : [])
  makes_nodes     = length(local.made_nodes) > 0 ? 1 : 0

  vpc_id     = local.makes_network == 1 ? aws_vpc.this[0].id : try(var.existing_network.vpc_id, null)
  vpc_cidrs  = local.makes_network == 1 ? [var.vpc_cidr] : try(var.existing_network.cidrs, [])
  subnet_ids = local.makes_network == 1 ? aws_subnet.private[*].id : try(var.existing_network.subnet_ids, [])
  zones      = local.makes_network == 1 ? local.new_zones : try(var.existing_network.zones, [])
  gpu_zone   = var.gpu_zone == "" ? local.zones[0] : var.gpu_zone

  cluster_name          = local.makes_cluster == 1 ? aws_eks_cluster.this[0].name : var.existing_cluster.name
  cluster_version       = local.makes_cluster == 1 ? aws_eks_cluster.this[0].version : var.existing_cluster.version
  endpoint              = local.makes_cluster == 1 ? aws_eks_cluster.this[0].endpoint : var.existing_cluster.endpoint
  certificate_authority = local.makes_cluster == 1 ? aws_eks_cluster.this[0].certificate_authority[0].data : var.existing_cluster.certificate_authority

  # in a cluster of somebody else's, "gpu" may be taken
  gpu_node_group = local.makes_cluster == 1 ? "gpu" : "${var.name}-gpu"
}

# States of before 2026-11-28 have these without a count.
moved {
  from = aws_cloudwatch_log_group.cluster
  to   = aws_cloudwatch_log_group.cluster[0]
}

moved {
  from = aws_default_security_group.this
  to   = aws_default_security_group.this[0]
}

moved {
  from = aws_eks_addon.ebs_csi
  to   = aws_eks_addon.ebs_csi[0]
}

moved {
  from = aws_eks_cluster.this
  to   = aws_eks_cluster.this[0]
}

moved {
  from = aws_eks_node_group.gpu
  to   = aws_eks_node_group.gpu[0]
}

moved {
  from = aws_eks_node_group.system
  to   = aws_eks_node_group.system[0]
}

moved {
  from = aws_iam_role.cluster
  to   = aws_iam_role.cluster[0]
}

moved {
  from = aws_iam_role.node
  to   = aws_iam_role.node[0]
}

moved {
  from = aws_iam_role_policy_attachment.cluster
  to   = aws_iam_role_policy_attachment.cluster[0]
}

moved {
  from = aws_internet_gateway.this
  to   = aws_internet_gateway.this[0]
}

moved {
  from = aws_kms_alias.cluster
  to   = aws_kms_alias.cluster[0]
}

moved {
  from = aws_kms_key.cluster
  to   = aws_kms_key.cluster[0]
}

moved {
  from = aws_route.public
  to   = aws_route.public[0]
}

moved {
  from = aws_route_table.public
  to   = aws_route_table.public[0]
}

moved {
  from = aws_vpc.this
  to   = aws_vpc.this[0]
}

moved {
  from = aws_vpc_endpoint.s3
  to   = aws_vpc_endpoint.s3[0]
}
