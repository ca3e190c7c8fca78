"""Hub to S3: a repo pinned to a commit, streamed into a bucket without touching a disk, and a manifest written last."""
