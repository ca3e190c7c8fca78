output "cluster_name" {
  description = "Name of the cluster."
  value       = local.cluster_name
}

output "cluster_endpoint" {
  description = "URL of the Kubernetes API."
  value       = local.endpoint
}

output "cluster_ca" {
  description = "Certificate authority of the Kubernetes API, base64 of PEM."
  value       = local.certificate_authority
}

output "cluster_version" {
  description = "Kubernetes minor version of the control plane."
  value       = local.cluster_version
}

output "vpc_id" {
  description = "ID of the VPC."
  value       = local.vpc_id
}

output "vpc_cidrs" {
  description = "Address ranges of the VPC."
  value       = local.vpc_cidrs
}

output "private_subnet_ids" {
  description = "IDs of the nodes' subnets, in the order of zones."
  value       = local.subnet_ids
}

output "public_subnet_ids" {
  description = "IDs of the load balancers' subnets, in the order of zones."
  value       = aws_subnet.public[*].id
}

output "zones" {
  description = "Availability zones of the nodes."
  value       = local.zones
}

output "gpu_zone" {
  description = "Zone of the GPU nodes and of the cache volumes."
  value       = local.gpu_zone
}

output "gpu_node_group" {
  description = "Name of the GPU node group; empty where Karpenter makes the GPU nodes."
  value       = local.makes_gpu_nodes == 1 ? aws_eks_node_group.gpu[0].node_group_name : var.existing_gpu_node_group
}

output "system_node_group" {
  description = "Name of the system node group."
  value       = one(aws_eks_node_group.system[*].node_group_name)
}

output "namespace" {
  description = "Kubernetes namespace the models' roles are bound to."
  value       = var.namespace
}

output "cache_role_arn" {
  description = "Role of the cache warming pods' service account."
  value       = aws_iam_role.model["cache"].arn
}

output "ebs_csi_role_arn" {
  description = "Role of the EBS CSI driver's controller."
  value       = try(aws_iam_role.system["ebs-csi"].arn, null)
}

output "node_role_arn" {
  description = "Role of the nodes."
  value       = one(aws_iam_role.node[*].arn)
}

output "karpenter_node_role" {
  description = "Name of the role of the nodes that Karpenter makes; null without it."
  value       = one(aws_iam_role.karpenter_node[*].name)
}

output "karpenter_queue" {
  description = "Name of the queue of EC2's interruptions; null without Karpenter."
  value       = one(aws_sqs_queue.karpenter[*].name)
}

output "streamed_models" {
  description = "Models whose pods may read their weights from the bucket, with the prefixes of each."
  value       = var.streamed_models
}
