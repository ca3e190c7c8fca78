data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  partition    = data.aws_partition.current.partition
  audience     = "sts.amazonaws.com"
  provider_arn = var.existing_provider_arn == null ? aws_iam_openid_connect_provider.ci[0].arn : var.existing_provider_arn
  boundary_arn = coalesce(var.permissions_boundary_arn, "arn:${local.partition}:iam::aws:policy/ReadOnlyAccess")
}

# Without thumbprints: AWS verifies GitHub and GitLab by its own list of authorities.
resource "aws_iam_openid_connect_provider" "ci" {
  count = var.existing_provider_arn == null ? 1 : 0

  url            = "https://${var.issuer}"
  client_id_list = [local.audience]
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [local.provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.issuer}:aud"
      values   = [local.audience]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.issuer}:sub"
      values   = var.subjects
    }
  }
}

resource "aws_iam_role" "ci" {
  name                 = "${var.name}-ci"
  description          = "slipway preflight --as-reader on pull requests, for ${var.environment}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  path                 = var.iam_path
  permissions_boundary = local.boundary_arn
}

# What `slipway preflight --as-reader` asks. Deploys and promotions of CI are done by a worker, and need nothing here.
data "aws_iam_policy_document" "preflight" {
  statement {
    sid       = "Look"
    resources = ["*"]
    actions = [
      "ec2:DescribeAddresses",
      "ec2:DescribeAvailabilityZones",
      "ec2:DescribeInstanceTypeOfferings",
      "ec2:DescribeInstanceTypes",
      "ec2:DescribeInstances",
      "ec2:DescribeNatGateways",
      "ec2:DescribeSpotPriceHistory",
      "ec2:DescribeSubnets",
      "ec2:DescribeVpcs",
      "ec2:GetEbsDefaultKmsKeyId",
      "eks:DescribeClusterVersions",
      "pricing:GetProducts",
      "servicequotas:GetAWSDefaultServiceQuota",
      "servicequotas:GetServiceQuota",
    ]
  }

  statement {
    sid       = "NodeImage"
    actions   = ["ssm:GetParameter"]
    resources = ["arn:${local.partition}:ssm:${var.region}::parameter/aws/service/eks/*"]
  }

  statement {
    sid       = "Cluster"
    actions   = ["eks:DescribeCluster"]
    resources = ["arn:${local.partition}:eks:${var.region}:${data.aws_caller_identity.current.account_id}:cluster/${var.name}"]
  }

  statement {
    sid       = "WhoseBuckets"
    actions   = ["s3:GetBucketTagging"]
    resources = [for each in var.buckets : "arn:${local.partition}:s3:::${each}"]
  }
}

resource "aws_iam_role_policy" "preflight" {
  name   = "preflight"
  role   = aws_iam_role.ci.name
  policy = data.aws_iam_policy_document.preflight.json
}
