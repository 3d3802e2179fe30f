"""RQ workers: decode a payload, call a use case, hand back JSON. Thin."""
