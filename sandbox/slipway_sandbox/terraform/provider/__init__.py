"""A Terraform provider that answers as hashicorp/aws, for the resource types of this project's root modules."""
