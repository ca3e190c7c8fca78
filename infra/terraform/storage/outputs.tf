output "bucket" {
  description = "Name of the model bucket."
  value       = aws_s3_bucket.models.id
}

output "bucket_arn" {
  description = "ARN of the model bucket: the cluster's model_bucket_arn."
  value       = aws_s3_bucket.models.arn
}

output "kms_key_arn" {
  description = "ARN of the key the models are encrypted with: the cluster's model_kms_key_arn."
  value       = aws_kms_key.models.arn
}

output "hub_token_secret_arn" {
  description = "ARN of the secret to put the hub's token into."
  value       = aws_secretsmanager_secret.hub_token.arn
}

output "image_cache_prefix" {
  description = "Repository prefix of the pull-through cache, null where there is none."
  value       = one(aws_ecr_pull_through_cache_rule.images[*].ecr_repository_prefix)
}
