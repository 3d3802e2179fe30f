"""A thousand tasks sent to Predictions in a real Label Studio."""
