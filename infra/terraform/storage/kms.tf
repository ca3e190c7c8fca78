data "aws_partition" "current" {}

# The account decides by IAM who may use the key: the cluster's roles get kms:Decrypt on it and nothing more.
data "aws_iam_policy_document" "key" {
  statement {
    sid       = "AccountAdministersByIAM"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }

  dynamic "statement" {
    for_each = length(var.reader_arns) > 0 ? [1] : []
    content {
      sid       = "PromotionReads"
      actions   = ["kms:Decrypt", "kms:GetPublicKey"]
      resources = ["*"]

      principals {
        type        = "AWS"
        identifiers = var.reader_arns
      }
    }
  }
}

resource "aws_kms_key" "models" {
  count = local.makes_key

  description             = "${var.name}: models at rest and the hub's token"
  enable_key_rotation     = true
  deletion_window_in_days = var.kms_deletion_window_days
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "models" {
  count = local.makes_key

  name          = "alias/${var.name}-models"
  target_key_id = aws_kms_key.models[0].key_id
}

# Signs the evidence of releases. KMS rotates no asymmetric key
resource "aws_kms_key" "evidence" {
  description              = "${var.name}: signs the evidence of releases"
  customer_master_key_spec = "ECC_NIST_P256"
  key_usage                = "SIGN_VERIFY"
  deletion_window_in_days  = var.kms_deletion_window_days
  policy                   = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "evidence" {
  name          = "alias/${var.name}-evidence"
  target_key_id = aws_kms_key.evidence.key_id
}
