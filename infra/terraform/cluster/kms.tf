data "aws_iam_policy_document" "key" {
  statement {
    sid       = "AccountAdministersByIAM"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account_id}:root"]
    }
  }

  # CloudWatch Logs is a service principal: IAM cannot let it in, and only these log groups may use the key
  statement {
    sid       = "ControlPlaneLogs"
    actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.${data.aws_partition.current.dns_suffix}"]
    }

    condition {
      test     = "ArnEquals"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values = [
        for group in [local.log_group, local.flow_log_group] :
        "arn:${local.partition}:logs:${var.region}:${local.account_id}:log-group:${group}"
      ]
    }
  }
}

resource "aws_kms_key" "cluster" {
  count = local.makes_cluster

  description             = "${var.name}: Kubernetes secrets and control plane logs"
  enable_key_rotation     = true
  deletion_window_in_days = var.kms_deletion_window_days
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "cluster" {
  count = local.makes_cluster

  name          = "alias/${var.name}-cluster"
  target_key_id = aws_kms_key.cluster[0].key_id
}
