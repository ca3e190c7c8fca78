data "aws_caller_identity" "current" {}

locals {
  makes_bucket = var.existing_bucket ? 0 : 1
  makes_key    = var.existing_bucket || var.existing_kms_key_arn != null ? 0 : 1
  bucket_arn   = "arn:${data.aws_partition.current.partition}:s3:::${local.bucket_name}"
  # null for a bucket that exists and is encrypted by S3 itself
  kms_key_arn = local.makes_key == 1 ? aws_kms_key.models[0].arn : var.existing_kms_key_arn

  bucket_name = coalesce(var.bucket_name, "${var.name}-models-${data.aws_caller_identity.current.account_id}-${var.region}")
}

# ---------------------------------------------------------------------------------------------------------------------
# The models
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_s3_bucket" "models" {
  count = local.makes_bucket

  bucket        = local.bucket_name
  force_destroy = var.bucket_force_destroy
}

resource "aws_s3_bucket_ownership_controls" "models" {
  count = local.makes_bucket

  bucket = aws_s3_bucket.models[0].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "models" {
  count = local.makes_bucket

  bucket = aws_s3_bucket.models[0].id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "models" {
  count = local.makes_bucket

  bucket = aws_s3_bucket.models[0].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "models" {
  count = local.makes_bucket

  bucket = aws_s3_bucket.models[0].id

  rule {
    # one data key for many objects: without it every shard of a model is a request to KMS
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = local.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "models" {
  count = local.makes_bucket

  bucket = aws_s3_bucket.models[0].id

  rule {
    id     = "abort-incomplete-uploads"
    status = "Enabled"

    filter {
      prefix = ""
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = var.abort_incomplete_upload_days
    }
  }

  rule {
    id     = "expire-noncurrent-versions"
    status = "Enabled"

    filter {
      prefix = ""
    }

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_version_days
    }
  }

  # the rules speak of versions, which exist once versioning is on
  depends_on = [aws_s3_bucket_versioning.models]
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.bucket_arn, "${local.bucket_arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # promotion copies inside S3 with the credentials of the environment that takes it
  dynamic "statement" {
    for_each = length(var.reader_arns) > 0 ? [1] : []
    content {
      sid       = "PromotionReads"
      actions   = ["s3:GetObject"]
      resources = ["${local.bucket_arn}/*"]

      principals {
        type        = "AWS"
        identifiers = var.reader_arns
      }
    }
  }
}

resource "aws_s3_bucket_policy" "models" {
  count = local.makes_bucket

  bucket = aws_s3_bucket.models[0].id
  policy = data.aws_iam_policy_document.bucket.json

  # S3 refuses to change both at once
  depends_on = [aws_s3_bucket_public_access_block.models]
}

# Who read what: S3 writes it to a bucket that is there already, in this region and account, and lets logging.s3.amazonaws.com in
resource "aws_s3_bucket_logging" "models" {
  count = var.access_log_bucket == "" ? 0 : local.makes_bucket

  bucket        = aws_s3_bucket.models[0].id
  target_bucket = var.access_log_bucket
  target_prefix = "${local.bucket_name}/"
}

# ---------------------------------------------------------------------------------------------------------------------
# The hub's token: made here, filled by `slipway` or a person, so that its value is in no state and no plan
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_secretsmanager_secret" "hub_token" {
  name                    = "${var.name}/hub-token"
  description             = "Hugging Face token that stages models. Its value is set outside Terraform."
  kms_key_id              = local.kms_key_arn
  recovery_window_in_days = var.secret_recovery_window_days
}

# ---------------------------------------------------------------------------------------------------------------------
# The gateway's API keys: made here, filled by `slipway keys` and deploys, so that their values are in no state and no plan
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_secretsmanager_secret" "api_keys" {
  name                    = "${var.name}/api-keys"
  description             = "API keys of the gateway, written by `slipway keys`. Their values are set outside Terraform."
  kms_key_id              = local.kms_key_arn
  recovery_window_in_days = var.secret_recovery_window_days
}

# ---------------------------------------------------------------------------------------------------------------------
# Images
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_ecr_pull_through_cache_rule" "images" {
  count = var.image_cache == null ? 0 : 1

  ecr_repository_prefix = var.image_cache.prefix
  upstream_registry_url = var.image_cache.upstream
  credential_arn        = var.image_cache.credential_arn
}

# ---------------------------------------------------------------------------------------------------------------------
# States of before 2026-11-28 have these without a count
# ---------------------------------------------------------------------------------------------------------------------

moved {
  from = aws_kms_alias.models
  to   = aws_kms_alias.models[0]
}

moved {
  from = aws_kms_key.models
  to   = aws_kms_key.models[0]
}

moved {
  from = aws_s3_bucket.models
  to   = aws_s3_bucket.models[0]
}

moved {
  from = aws_s3_bucket_lifecycle_configuration.models
  to   = aws_s3_bucket_lifecycle_configuration.models[0]
}

moved {
  from = aws_s3_bucket_ownership_controls.models
  to   = aws_s3_bucket_ownership_controls.models[0]
}

moved {
  from = aws_s3_bucket_policy.models
  to   = aws_s3_bucket_policy.models[0]
}

moved {
  from = aws_s3_bucket_public_access_block.models
  to   = aws_s3_bucket_public_access_block.models[0]
}

moved {
  from = aws_s3_bucket_server_side_encryption_configuration.models
  to   = aws_s3_bucket_server_side_encryption_configuration.models[0]
}

moved {
  from = aws_s3_bucket_versioning.models
  to   = aws_s3_bucket_versioning.models[0]
}
