output "bucket" {
  description = "Name of the model bucket."
  value       = local.makes_bucket == 1 ? aws_s3_bucket.models[0].id : local.bucket_name
}

output "bucket_arn" {
  description = "ARN of the model bucket: the cluster's model_bucket_arn."
  value       = local.bucket_arn
}

output "kms_key_arn" {
  description = "ARN of the key the models are encrypted with, empty where S3's own encrypts them: the cluster's model_kms_key_arn."
  value       = local.kms_key_arn == null ? "" : local.kms_key_arn
}

output "evidence_key_arn" {
  description = "ARN of the key that signs the evidence of releases."
  value       = aws_kms_key.evidence.arn
}

output "hub_token_secret_arn" {
  description = "ARN of the secret to put the hub's token into."
  value       = aws_secretsmanager_secret.hub_token.arn
}

output "image_cache_prefix" {
  description = "Repository prefix of the pull-through cache, null where there is none."
  value       = one(aws_ecr_pull_through_cache_rule.images[*].ecr_repository_prefix)
}
