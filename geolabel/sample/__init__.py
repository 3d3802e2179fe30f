"""Which chips to label next: pure, seeded samplers over chip features and predictions."""
