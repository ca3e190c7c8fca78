"""S3 to a volume: the claim serving pods read weights from, filled by a Job and marked only once it is whole."""
