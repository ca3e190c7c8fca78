# EKS takes no subnet in these for a control plane: docs.aws.amazon.com/eks/latest/userguide/network-reqs.html, 2026-08
data "aws_availability_zones" "available" {
  exclude_zone_ids = ["use1-az3", "usw1-az2", "cac1-az3"]
  state            = "available"

  # local and wavelength zones have no EKS control plane
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  new_zones = length(var.zones) == 2 ? var.zones : slice(data.aws_availability_zones.available.names, 0, 2)
  nat_zones = var.nat_gateways == "per_zone" ? local.new_zones : slice(local.new_zones, 0, 1)

  # a /16 gives two private /18 for nodes and pods, and two public /22 out of the third quarter for load balancers
  private_cidrs = [for index in range(2) : cidrsubnet(var.vpc_cidr, 2, index)]
  public_cidrs  = [for index in range(2) : cidrsubnet(cidrsubnet(var.vpc_cidr, 2, 2), 4, index)]

  interface_services = local.makes_network == 1 && var.interface_endpoints ? toset(["ecr.api", "ecr.dkr", "sts", "ec2", "logs", "eks-auth"]) : toset([])
}

resource "aws_vpc" "this" {
  count = local.makes_network

  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.name }
}

resource "aws_subnet" "private" {
  count = 2 * local.makes_network

  vpc_id            = aws_vpc.this[0].id
  cidr_block        = local.private_cidrs[count.index]
  availability_zone = local.new_zones[count.index]

  tags = merge(
    {
      Name                              = "${var.name}-private-${local.new_zones[count.index]}"
      "kubernetes.io/role/internal-elb" = "1"
    },
    # what the EC2NodeClass of k8s/gpu-nodes selects
    local.uses_karpenter == 1 ? { "karpenter.sh/discovery" = var.name } : {},
  )
}

resource "aws_subnet" "public" {
  count = 2 * local.makes_network

  vpc_id            = aws_vpc.this[0].id
  cidr_block        = local.public_cidrs[count.index]
  availability_zone = local.new_zones[count.index]

  tags = {
    Name                     = "${var.name}-public-${local.new_zones[count.index]}"
    "kubernetes.io/role/elb" = "1"
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# The way out
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_internet_gateway" "this" {
  count = local.makes_network

  vpc_id = aws_vpc.this[0].id

  tags = { Name = var.name }
}

resource "aws_eip" "nat" {
  count = length(local.nat_zones) * local.makes_network

  domain = "vpc"

  tags = { Name = "${var.name}-nat-${local.nat_zones[count.index]}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_nat_gateway" "this" {
  count = length(local.nat_zones) * local.makes_network

  subnet_id     = aws_subnet.public[count.index].id
  allocation_id = aws_eip.nat[count.index].id

  tags = { Name = "${var.name}-${local.nat_zones[count.index]}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_route_table" "public" {
  count = local.makes_network

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${var.name}-public" }
}

resource "aws_route" "public" {
  count = local.makes_network

  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "public" {
  count = 2 * local.makes_network

  route_table_id = aws_route_table.public[0].id
  subnet_id      = aws_subnet.public[count.index].id
}

resource "aws_route_table" "private" {
  count = 2 * local.makes_network

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${var.name}-private-${local.new_zones[count.index]}" }
}

resource "aws_route" "private" {
  count = 2 * local.makes_network

  route_table_id         = aws_route_table.private[count.index].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[count.index % length(local.nat_zones)].id
}

resource "aws_route_table_association" "private" {
  count = 2 * local.makes_network

  route_table_id = aws_route_table.private[count.index].id
  subnet_id      = aws_subnet.private[count.index].id
}

# ---------------------------------------------------------------------------------------------------------------------
# AWS without the way out
# ---------------------------------------------------------------------------------------------------------------------

# Free, and the weights come through it: over NAT every cold start would be billed by the gigabyte.
resource "aws_vpc_endpoint" "s3" {
  count = local.makes_network

  vpc_id            = aws_vpc.this[0].id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = aws_route_table.private[*].id

  tags = { Name = "${var.name}-s3" }
}

resource "aws_security_group" "endpoints" {
  count = local.makes_network == 1 && var.interface_endpoints ? 1 : 0

  name        = "${var.name}-endpoints"
  description = "Interface endpoints, reached from inside the VPC"
  vpc_id      = aws_vpc.this[0].id

  tags = { Name = "${var.name}-endpoints" }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  count = local.makes_network == 1 && var.interface_endpoints ? 1 : 0

  security_group_id = aws_security_group.endpoints[0].id
  description       = "HTTPS from the VPC"
  cidr_ipv4         = var.vpc_cidr
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443

  tags = { Name = "${var.name}-endpoints" }
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.interface_services

  vpc_id              = aws_vpc.this[0].id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = aws_security_group.endpoints[*].id
  private_dns_enabled = true

  tags = { Name = "${var.name}-${each.key}" }
}
