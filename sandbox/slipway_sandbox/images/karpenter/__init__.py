"""Karpenter as a pod program: nodes for pods that fit nowhere, and none where nothing runs.

Behaviour, wording and API shapes: kubernetes-sigs/karpenter and aws/karpenter-provider-aws 1.14. Not here: consolidation of
underutilized nodes, drift, static capacity, reserved capacity, node repair, minValues.
"""
