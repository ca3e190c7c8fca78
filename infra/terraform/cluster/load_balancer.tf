# The role of the AWS Load Balancer Controller, which makes the gateway's load balancer where that speaks TLS. Its policy is the
# documented one, unchanged but for the partition: github.com/kubernetes-sigs/aws-load-balancer-controller v3.5.0 (11eb202),
# docs/install/iam_policy.json.
locals {
  uses_load_balancers = var.load_balancer_controller ? local.makes_cluster : 0
}

resource "aws_iam_role" "load_balancer_controller" {
  count = local.uses_load_balancers

  name                 = "${var.name}-load-balancers"
  description          = "AWS Load Balancer Controller of ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust["pods"].json
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "load_balancer_controller" {
  count = local.uses_load_balancers

  name = "controller"
  role = aws_iam_role.load_balancer_controller[0].name
  # without the file's white space
  policy = jsonencode(jsondecode(replace(file("${path.module}/load_balancer_controller.json"), "arn:aws:", "arn:${local.partition}:")))
}

resource "aws_eks_pod_identity_association" "load_balancer_controller" {
  count = local.uses_load_balancers

  cluster_name    = local.cluster_name
  namespace       = "kube-system"
  service_account = "aws-load-balancer-controller"
  role_arn        = aws_iam_role.load_balancer_controller[0].arn

  depends_on = [aws_iam_role_policy.load_balancer_controller]
}
