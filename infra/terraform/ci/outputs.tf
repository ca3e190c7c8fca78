output "role_arn" {
  description = "ARN of the role: CI's variable SLIPWAY_READER_ROLE."
  value       = aws_iam_role.ci.arn
}

output "provider_arn" {
  description = "ARN of the OIDC provider: existing_provider_arn of the next environment in this account."
  value       = local.provider_arn
}
