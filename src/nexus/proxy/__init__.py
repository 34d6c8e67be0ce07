"""The hot path: attempts and failover, the stream relay, and the pool of upstream connections."""
