output "cluster_name" {
  description = "Name of the cluster."
  value       = aws_eks_cluster.this.name
}

output "cluster_endpoint" {
  description = "URL of the Kubernetes API."
  value       = aws_eks_cluster.this.endpoint
}

output "cluster_ca" {
  description = "Certificate authority of the Kubernetes API, base64 of PEM."
  value       = aws_eks_cluster.this.certificate_authority[0].data
}

output "cluster_version" {
  description = "Kubernetes minor version of the control plane."
  value       = aws_eks_cluster.this.version
}

output "vpc_id" {
  description = "ID of the VPC."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "IDs of the nodes' subnets, in the order of zones."
  value       = aws_subnet.private[*].id
}

output "public_subnet_ids" {
  description = "IDs of the load balancers' subnets, in the order of zones."
  value       = aws_subnet.public[*].id
}

output "zones" {
  description = "Availability zones of the nodes."
  value       = local.zones
}

output "gpu_node_group" {
  description = "Name of the GPU node group."
  value       = aws_eks_node_group.gpu.node_group_name
}

output "system_node_group" {
  description = "Name of the system node group."
  value       = aws_eks_node_group.system.node_group_name
}

output "namespace" {
  description = "Kubernetes namespace the models' roles are bound to."
  value       = var.namespace
}

output "serving_role_arn" {
  description = "Role of the serving pods' service account."
  value       = aws_iam_role.model["serving"].arn
}

output "cache_role_arn" {
  description = "Role of the cache warming pods' service account."
  value       = aws_iam_role.model["cache"].arn
}

output "ebs_csi_role_arn" {
  description = "Role of the EBS CSI driver's controller."
  value       = aws_iam_role.system["ebs-csi"].arn
}

output "node_role_arn" {
  description = "Role of the nodes."
  value       = aws_iam_role.node.arn
}
