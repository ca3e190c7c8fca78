locals {
  # A part of a NodeConfig, which EKS merges with its own: github.com/awslabs/amazon-eks-ami 81fec2e, nodeadm/doc/examples.md.
  # FastImagePull pulls and unpacks the layers of an image in parallel (default: one after the other), and wants 600 MiB/s.
  # The label keeps load balancers from sending through GPU nodes, so that scaling them to zero cuts no stream. EKS refuses it
  # as a label of the group ("Label cannot contain reserved prefixes"); a kubelet may give it to itself.
  gpu_node_config = <<-MIME
    MIME-Version: 1.0
    Content-Type: multipart/mixed; boundary="//"

    --//
    Content-Type: application/node.eks.aws

    apiVersion: node.eks.aws/v1alpha1
    kind: NodeConfig
    spec:
      featureGates:
        FastImagePull: true
      kubelet:
        flags:
          - --node-labels=node.kubernetes.io/exclude-from-external-load-balancers=true
    --//--
  MIME
  user_data       = { gpu = base64encode(local.gpu_node_config) }

  all_volumes = {
    system = { gib = var.system_volume_gib, iops = 3000, throughput = 125 }
    gpu    = { gib = var.gpu_volume_gib, iops = var.gpu_volume_iops, throughput = var.gpu_volume_throughput }
  }
}

resource "aws_launch_template" "node" {
  for_each = { for kind, volume in local.all_volumes : kind => volume if contains(local.made_nodes, kind) }

  name                   = "${var.name}-${each.key}"
  description            = "Volume and metadata settings of the ${each.key} nodes"
  update_default_version = true
  user_data              = lookup(local.user_data, each.key, null)

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = each.value.gib
      iops                  = each.value.iops
      throughput            = each.value.throughput
      encrypted             = true
      delete_on_termination = true
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required" # IMDSv2 only
    http_put_response_hop_limit = var.metadata_hop_limit
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])

    content {
      resource_type = tag_specifications.value
      tags = merge(var.tags, {
        Name                  = "${var.name}-${each.key}"
        Project               = "slipway"
        "slipway:environment" = var.environment
      })
    }
  }
}

resource "aws_eks_node_group" "system" {
  count = local.makes_cluster

  cluster_name    = local.cluster_name
  node_group_name = "system"
  node_role_arn   = aws_iam_role.node[0].arn
  subnet_ids      = local.subnet_ids

  version        = local.cluster_version
  ami_type       = "AL2023_x86_64_STANDARD"
  instance_types = var.system_instance_types

  labels = { workload = "system" }

  scaling_config {
    min_size     = var.system_min_size
    desired_size = var.system_desired_size
    max_size     = var.system_max_size
  }

  update_config {
    max_unavailable = 1
  }

  launch_template {
    id      = aws_launch_template.node["system"].id
    version = aws_launch_template.node["system"].latest_version
  }

  lifecycle {
    ignore_changes = [scaling_config[0].desired_size]
  }

  depends_on = [
    aws_iam_role_policy_attachment.node,
    aws_eks_addon.before_nodes,
    aws_route.private,
    aws_route_table_association.private,
  ]
}

resource "aws_eks_node_group" "gpu" {
  count = local.makes_gpu_nodes

  cluster_name    = local.cluster_name
  node_group_name = local.gpu_node_group
  node_role_arn   = aws_iam_role.node[0].arn
  # one zone: a cache volume is in one, and a node elsewhere could never attach it
  subnet_ids = [local.subnet_ids[index(local.zones, local.gpu_zone)]]

  version        = local.cluster_version
  ami_type       = "AL2023_x86_64_NVIDIA"
  instance_types = var.gpu_instance_types
  capacity_type  = var.gpu_capacity_type

  labels = { (var.gpu_label.key) = var.gpu_label.value }

  taint {
    key    = var.gpu_taint.key
    value  = var.gpu_taint.value
    effect = var.gpu_taint.effect
  }

  scaling_config {
    min_size     = var.gpu_min_size
    desired_size = var.gpu_desired_size
    max_size     = var.gpu_max_size
  }

  update_config {
    max_unavailable = 1
  }

  launch_template {
    id      = aws_launch_template.node["gpu"].id
    version = aws_launch_template.node["gpu"].latest_version
  }

  lifecycle {
    # the idle scaler owns the number: an apply must not wake GPUs, nor take them from under a model
    ignore_changes = [scaling_config[0].desired_size]

    precondition {
      condition     = var.gpu_min_size <= var.gpu_desired_size && var.gpu_desired_size <= var.gpu_max_size && var.gpu_max_size >= 1
      error_message = "gpu_min_size <= gpu_desired_size <= gpu_max_size must hold, with gpu_max_size at least 1."
    }
  }

  depends_on = [
    aws_iam_role_policy_attachment.node,
    aws_eks_addon.before_nodes,
    aws_route.private,
    aws_route_table_association.private,
  ]
}
