"""The outside world, one thing a file: the store, Label Studio, the job queue."""
