variable "region" {
  description = "AWS region of the environment."
  type        = string
}

variable "name" {
  description = "The environment's cluster.name, which prefixes the role, and names the cluster that is read."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 32 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "environment" {
  description = "Environment the role reads for (the tag slipway:environment)."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,31}$", var.environment))
    error_message = "environment must be up to 32 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "buckets" {
  description = "The environment's model bucket and state bucket: whether they are there, and whose, is read."
  type        = list(string)

  validation {
    condition     = length(var.buckets) == 2 && alltrue([for each in var.buckets : can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", each))])
    error_message = "buckets must be the names of two buckets."
  }
}

variable "issuer" {
  description = "Who signs the tokens of CI's jobs, without https://: GitHub by default; gitlab.com, or the host of your own GitLab."
  type        = string
  default     = "token.actions.githubusercontent.com"

  validation {
    condition     = can(regex("^[a-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9_/-]+)?$", var.issuer))
    error_message = "issuer must be a host, without https:// and without a slash at its end."
  }
}

variable "subjects" {
  description = "Exact sub claims that may take the role. GitHub: repo:OWNER/NAME:environment:ENV-preflight; GitLab: project_path:GROUP/NAME:ref_type:branch."
  type        = list(string)

  validation {
    condition     = length(var.subjects) > 0 && alltrue([for each in var.subjects : can(regex("^[a-z_]+:[^*?]+$", each))])
    error_message = "subjects must be whole sub claims, without * and ?: a wildcard lets other repositories in."
  }
}

variable "existing_provider_arn" {
  description = "ARN of the issuer's OIDC provider where the account has one: AWS takes one for each issuer. null: it is made."
  type        = string
  default     = null
}

variable "iam_path" {
  description = "Path of the role."
  type        = string
  default     = "/"
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of the role. null: AWS's ReadOnlyAccess, so that it can only read whatever is attached to it later."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything made here, besides Project and slipway:environment."
  type        = map(string)
  default     = {}
}
