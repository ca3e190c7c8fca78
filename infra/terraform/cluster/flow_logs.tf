# The VPC's default security group lets everything in it talk. Nothing here uses it: it is emptied.
resource "aws_default_security_group" "this" {
  count = local.makes_network

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${var.name}-default-closed" }
}

resource "aws_cloudwatch_log_group" "flow" {
  count = local.flow_logs

  name              = local.flow_log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.cluster[0].arn
}

data "aws_iam_policy_document" "flow_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["vpc-flow-logs.amazonaws.com"]
    }

    # only for flow logs of this account
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
  }
}

# https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
data "aws_iam_policy_document" "flow" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
    resources = ["arn:${local.partition}:logs:${var.region}:${local.account_id}:log-group:${local.flow_log_group}:*"]
  }
}

resource "aws_iam_role" "flow" {
  count = local.flow_logs

  name                 = "${var.name}-flow-logs"
  description          = "VPC flow logs of ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.flow_trust.json
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "flow" {
  count = local.flow_logs

  name   = "write-flow-logs"
  role   = aws_iam_role.flow[0].name
  policy = data.aws_iam_policy_document.flow.json
}

resource "aws_flow_log" "this" {
  count = local.flow_logs

  vpc_id               = aws_vpc.this[0].id
  traffic_type         = var.flow_logs
  log_destination_type = "cloud-watch-logs"
  log_destination      = aws_cloudwatch_log_group.flow[0].arn
  iam_role_arn         = aws_iam_role.flow[0].arn

  tags = { Name = var.name }

  depends_on = [aws_iam_role_policy.flow]
}
