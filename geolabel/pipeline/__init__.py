"""Use cases: one file per verb; each takes `services` first."""
