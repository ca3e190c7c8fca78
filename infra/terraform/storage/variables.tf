variable "region" {
  description = "AWS region of the bucket. Use the cluster's own: loading weights across regions is slow and billed."
  type        = string
}

variable "name" {
  description = "Prefix of every name made here. Fixed names let a killed apply be adopted instead of repeated."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 32 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "environment" {
  description = "Environment these resources belong to (the tag slipway:environment)."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,31}$", var.environment))
    error_message = "environment must be up to 32 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "bucket_name" {
  description = "Name of the model bucket. Empty: NAME-models-ACCOUNT-REGION, which is free unless somebody squats on it."
  type        = string
  default     = ""

  validation {
    condition     = var.bucket_name == "" || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must be 3 to 63 lower-case letters, digits and hyphens (a dot would break TLS names)."
  }
}

variable "bucket_force_destroy" {
  description = "Whether destroying the bucket deletes the models in it. Leave false where they are worth their download."
  type        = bool
  default     = false
}

variable "reader_arns" {
  description = "IAM roles, of other accounts, that may read staged models: those that run the environments promoted to from here."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.reader_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user|root)", arn))])
    error_message = "reader_arns must be ARNs of IAM roles or users."
  }
}

variable "access_log_bucket" {
  description = "Bucket that takes the model bucket's access logs; it must exist and let S3's logging in. Empty: none are kept."
  type        = string
  default     = ""
}

variable "abort_incomplete_upload_days" {
  description = "Days after which the parts of an upload nobody completed are deleted. They are billed and never listed."
  type        = number
  default     = 3

  validation {
    condition     = var.abort_incomplete_upload_days >= 1 && floor(var.abort_incomplete_upload_days) == var.abort_incomplete_upload_days
    error_message = "abort_incomplete_upload_days must be a whole number of at least 1."
  }
}

variable "noncurrent_version_days" {
  description = "Days an overwritten or deleted object can still be brought back."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_version_days >= 1 && floor(var.noncurrent_version_days) == var.noncurrent_version_days
    error_message = "noncurrent_version_days must be a whole number of at least 1."
  }
}

variable "kms_deletion_window_days" {
  description = "Days between destroying the key and its end. Without it the models are unreadable for good."
  type        = number
  default     = 30

  validation {
    condition     = var.kms_deletion_window_days >= 7 && var.kms_deletion_window_days <= 30
    error_message = "kms_deletion_window_days must be between 7 and 30 (a limit of KMS)."
  }
}

variable "secret_recovery_window_days" {
  description = "Days a destroyed token secret can be restored, 7 to 30. 0 deletes at once, so the name is free again."
  type        = number
  default     = 7

  validation {
    condition     = var.secret_recovery_window_days == 0 || (var.secret_recovery_window_days >= 7 && var.secret_recovery_window_days <= 30)
    error_message = "secret_recovery_window_days must be 0, or between 7 and 30 (a limit of Secrets Manager)."
  }
}

variable "image_cache" {
  description = "Pull-through cache in ECR: PREFIX is the repository prefix in this account, UPSTREAM the registry behind it, CREDENTIAL_ARN a Secrets Manager secret named ecr-pullthroughcache/... for registries that ask for one. null: none."
  type = object({
    prefix         = string
    upstream       = string
    credential_arn = optional(string)
  })
  default = null
}

variable "tags" {
  description = "Tags of everything made here, besides Project and slipway:environment."
  type        = map(string)
  default     = {}
}

variable "existing_bucket" {
  description = "Whether the bucket named bucket_name exists: it is used with its own settings, and stays."
  type        = bool
  default     = false

  validation {
    condition     = !var.existing_bucket || var.bucket_name != ""
    error_message = "existing_bucket needs bucket_name."
  }
}

variable "existing_kms_key_arn" {
  description = "ARN of a key that exists and encrypts the models and the hub's token. null: one is made, or, for a bucket that exists, S3's own."
  type        = string
  default     = null

  validation {
    condition     = var.existing_kms_key_arn == null || can(regex("^arn:[^:]+:kms:[^:]+:[0-9]{12}:key/", var.existing_kms_key_arn))
    error_message = "existing_kms_key_arn must be the ARN of a KMS key (not of an alias)."
  }
}
