variable "region" {
  description = "AWS region of the cluster."
  type        = string
}

variable "name" {
  description = "Name of the cluster and prefix of every name made here. Fixed names let a killed apply be adopted."
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

# ---------------------------------------------------------------------------------------------------------------------
# Cluster
# ---------------------------------------------------------------------------------------------------------------------

variable "kubernetes_version" {
  description = "Kubernetes minor version of control plane and nodes, for example 1.33."
  type        = string

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "kubernetes_version must be a minor version such as 1.33."
  }
}

variable "endpoint_public_access" {
  description = "Whether the Kubernetes API answers from outside the VPC. It always answers inside."
  type        = bool
  default     = false
}

variable "endpoint_public_access_cidrs" {
  description = "Networks that may reach the public endpoint: where you deploy from. Needed with endpoint_public_access."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.endpoint_public_access_cidrs) > 0 || !var.endpoint_public_access
    error_message = "endpoint_public_access needs endpoint_public_access_cidrs."
  }

  validation {
    condition     = alltrue([for cidr in var.endpoint_public_access_cidrs : can(cidrnetmask(cidr))])
    error_message = "endpoint_public_access_cidrs must be IPv4 networks, such as 203.0.113.0/24."
  }
}

variable "bootstrap_cluster_creator_admin_permissions" {
  description = "Whether whoever creates the cluster administers it. Read once, when the cluster is made; later changes are ignored."
  type        = bool
  default     = true
}

variable "admin_principal_arns" {
  description = "IAM users or roles that administer the cluster, besides its creator."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.admin_principal_arns : can(regex("^arn:[^:]+:iam::[0-9]{12}:(user|role)/", arn))])
    error_message = "admin_principal_arns must be ARNs of IAM users or roles (of the role itself, not of a session of it)."
  }
}

variable "control_plane_log_types" {
  description = "Control plane logs kept in CloudWatch."
  type        = set(string)
  default     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
}

variable "log_retention_days" {
  description = "Days the control plane's logs are kept."
  type        = number
  default     = 30
}

variable "kms_deletion_window_days" {
  description = "Days between destroying the cluster's key and its end."
  type        = number
  default     = 7

  validation {
    condition     = var.kms_deletion_window_days >= 7 && var.kms_deletion_window_days <= 30
    error_message = "kms_deletion_window_days must be between 7 and 30 (a limit of KMS)."
  }
}

variable "addon_versions" {
  description = "Pinned add-on versions by add-on name. An add-on that is not named gets EKS's default for the cluster's version."
  type        = map(string)
  default     = {}
}

# ---------------------------------------------------------------------------------------------------------------------
# Network
# ---------------------------------------------------------------------------------------------------------------------

variable "vpc_cidr" {
  description = "Address range of the VPC. Every pod takes an address: keep it wide."
  type        = string
  default     = "10.64.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(tonumber(split("/", var.vpc_cidr)[1]), 0) >= 16 && try(tonumber(split("/", var.vpc_cidr)[1]), 99) <= 20
    error_message = "vpc_cidr must be an IPv4 network of /16 to /20: four subnets are cut from it."
  }
}

variable "zones" {
  description = "The two availability zones. Empty: the first two of the region. Name them where GPUs are offered in some only."
  type        = list(string)
  default     = []

  validation {
    condition     = contains([0, 2], length(var.zones))
    error_message = "zones must name two availability zones, or none."
  }
}

variable "nat_gateways" {
  description = "single: one NAT gateway for both zones. per_zone: one each, so that a zone's end does not cut the other off."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["single", "per_zone"], var.nat_gateways)
    error_message = "nat_gateways must be single or per_zone."
  }
}

variable "interface_endpoints" {
  description = "Whether ECR, STS, EC2, CloudWatch Logs and Pod Identity are reached inside the VPC (billed by hour and zone) instead of through NAT."
  type        = bool
  default     = false
}

variable "flow_logs" {
  description = "What the VPC's flow logs record, in CloudWatch for log_retention_days: REJECT, ALL (by the gigabyte), or OFF."
  type        = string
  default     = "REJECT"

  validation {
    condition     = contains(["REJECT", "ALL", "OFF"], var.flow_logs)
    error_message = "flow_logs must be REJECT, ALL or OFF."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Nodes
# ---------------------------------------------------------------------------------------------------------------------

variable "system_instance_types" {
  description = "Instance types of the nodes that run everything but models."
  type        = list(string)
  default     = ["m6i.large"]
}

variable "system_min_size" {
  description = "Fewest system nodes."
  type        = number
  default     = 2
}

variable "system_desired_size" {
  description = "System nodes at creation."
  type        = number
  default     = 2
}

variable "system_max_size" {
  description = "Most system nodes."
  type        = number
  default     = 4
}

variable "system_volume_gib" {
  description = "Root volume of a system node, in GiB."
  type        = number
  default     = 50
}

variable "gpu_provisioner" {
  description = "node-group: a GPU node group is made. karpenter: what Karpenter needs is made instead: roles, and a queue of EC2's interruptions."
  type        = string
  default     = "node-group"

  validation {
    condition     = contains(["node-group", "karpenter"], var.gpu_provisioner)
    error_message = "gpu_provisioner must be node-group or karpenter."
  }

  validation {
    condition     = var.gpu_provisioner == "node-group" || var.existing_cluster == null
    error_message = "karpenter needs a cluster that is made here."
  }
}

variable "gpu_instance_types" {
  description = "Instance types of the GPU nodes, best first. All of one GPU model: the release is measured on it."
  type        = list(string)
  default     = ["g6e.2xlarge"]

  validation {
    condition     = length(var.gpu_instance_types) > 0
    error_message = "gpu_instance_types must name at least one instance type."
  }
}

variable "gpu_zone" {
  description = "Zone of the GPU nodes and of the cache volumes they attach, one of zones. Empty: the first. A change replaces the node group."
  type        = string
  default     = ""
}

variable "gpu_capacity_type" {
  description = "ON_DEMAND or SPOT. Spot is cheaper and goes with two minutes' notice."
  type        = string
  default     = "ON_DEMAND"

  validation {
    condition     = contains(["ON_DEMAND", "SPOT"], var.gpu_capacity_type)
    error_message = "gpu_capacity_type must be ON_DEMAND or SPOT."
  }
}

variable "gpu_min_size" {
  description = "Fewest GPU nodes. 0 lets idle scale-down take them all away."
  type        = number
  default     = 0
}

variable "gpu_desired_size" {
  description = "GPU nodes at creation. Afterwards the scaler owns the number and Terraform ignores it."
  type        = number
  default     = 1
}

variable "gpu_max_size" {
  description = "Most GPU nodes: the bound on what this environment can cost."
  type        = number
  default     = 2
}

variable "gpu_volume_gib" {
  description = "Root volume of a GPU node, in GiB. A vLLM image is 8 to 20 GiB unpacked, and the next one is pulled beside it."
  type        = number
  default     = 200
}

variable "gpu_volume_iops" {
  description = "IOPS of a GPU node's gp3 root volume (3000 are free). Unpacking the image is bound by it."
  type        = number
  default     = 6000

  validation {
    condition     = var.gpu_volume_iops >= 3000 && var.gpu_volume_iops <= 16000
    error_message = "gpu_volume_iops must be between 3000 and 16000 (gp3)."
  }
}

variable "gpu_volume_throughput" {
  description = "Throughput of a GPU node's gp3 root volume in MiB/s (125 are free). Parallel image pulls want 600 at least."
  type        = number
  default     = 600

  validation {
    condition     = var.gpu_volume_throughput >= 125 && var.gpu_volume_throughput <= 1000
    error_message = "gpu_volume_throughput must be between 125 and 1000 MiB/s (gp3)."
  }
}

variable "gpu_label" {
  description = "Label of the GPU nodes: what the serving pods select."
  type = object({
    key   = string
    value = string
  })
  default = {
    key   = "workload"
    value = "inference-gpu"
  }
}

variable "gpu_taint" {
  description = "Taint of the GPU nodes: what the serving pods tolerate, and nothing else does. EFFECT as EKS writes it."
  type = object({
    key    = string
    value  = string
    effect = string
  })
  default = {
    key    = "nvidia.com/gpu"
    value  = "true"
    effect = "NO_SCHEDULE"
  }

  validation {
    condition     = contains(["NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE"], var.gpu_taint.effect)
    error_message = "gpu_taint.effect must be NO_SCHEDULE, NO_EXECUTE or PREFER_NO_SCHEDULE."
  }
}

variable "metadata_hop_limit" {
  description = "Hops the instance metadata answers over. 1 keeps pods from the node's credentials; 2 lets them through."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2], var.metadata_hop_limit)
    error_message = "metadata_hop_limit must be 1 or 2."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# What the models need
# ---------------------------------------------------------------------------------------------------------------------

variable "model_bucket_arn" {
  description = "ARN of the model bucket (storage: bucket_arn)."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:s3:::[^/]+$", var.model_bucket_arn))
    error_message = "model_bucket_arn must be the ARN of a bucket."
  }
}

variable "model_kms_key_arn" {
  description = "ARN of the key the models are encrypted with (storage: kms_key_arn). Empty: S3's own."
  type        = string

  validation {
    condition     = var.model_kms_key_arn == "" || can(regex("^arn:[^:]+:kms:[^:]+:[0-9]{12}:key/", var.model_kms_key_arn))
    error_message = "model_kms_key_arn must be the ARN of a KMS key (not of an alias)."
  }
}

variable "namespace" {
  description = "Kubernetes namespace of the models."
  type        = string
  default     = "llm"
}

variable "cache_service_account" {
  description = "Service account of the pods that warm caches."
  type        = string
  default     = "model-cache"
}

variable "streamed_models" {
  description = "Models whose pods read their weights from the bucket as they start, with the prefixes each may read. Their service accounts are vllm-NAME."
  type        = map(list(string))
  default     = {}
}

variable "load_balancer_controller" {
  description = "Whether the AWS Load Balancer Controller gets its role, for a gateway with TLS. An existing cluster has its own controller."
  type        = bool
  default     = false
}

variable "image_cache_prefix" {
  description = "Prefix of the pull-through cache's repositories (storage: image_cache_prefix): nodes may make them. Empty: none."
  type        = string
  default     = ""
}

# ---------------------------------------------------------------------------------------------------------------------
# What exists already
# ---------------------------------------------------------------------------------------------------------------------

variable "existing_network" {
  description = "Private subnets that exist, with the zone of each in the same order, and the VPC they are in with its address ranges. null: a VPC is made."
  type = object({
    vpc_id     = string
    cidrs      = list(string)
    subnet_ids = list(string)
    zones      = list(string)
  })
  default = null

  validation {
    condition     = try(length(var.existing_network.subnet_ids) == length(var.existing_network.zones), true)
    error_message = "existing_network needs the zone of each subnet."
  }
}

variable "existing_cluster" {
  description = "EKS cluster that exists, as EKS describes it; it is used and never changed. null: one is made."
  type = object({
    name                  = string
    version               = string
    endpoint              = string
    certificate_authority = string
  })
  default = null
}

variable "existing_gpu_node_group" {
  description = "GPU node group of the existing cluster; its size is its owner's. Empty: one is made."
  type        = string
  default     = ""

  validation {
    condition     = var.existing_gpu_node_group == "" || var.existing_cluster != null
    error_message = "existing_gpu_node_group is one of existing_cluster's: name that too."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# What an organisation asks of everything that is made
# ---------------------------------------------------------------------------------------------------------------------

variable "iam_path" {
  description = "Path of the IAM roles made here."
  type        = string
  default     = "/"

  validation {
    condition     = can(regex("^/([!-~]*/)?$", var.iam_path))
    error_message = "iam_path must begin and end with a slash."
  }
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of the IAM roles made here. null: none."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything made here, besides Project and slipway:environment."
  type        = map(string)
  default     = {}
}
