"""Start a deployment from CI, follow its run, and end as it ends: `slipway ci deploy|promote|preflight`."""
