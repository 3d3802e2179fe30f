"""Contract suites that authors of plugins run over their own parts."""
