"""Keys of the gateway: their records, where they are kept, and how they reach the cluster."""
