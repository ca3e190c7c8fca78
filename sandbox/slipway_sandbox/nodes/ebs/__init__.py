"""The EBS CSI driver of the aws-ebs-csi-driver add-on, its sidecars, and the snapshot-controller add-on beside it."""
