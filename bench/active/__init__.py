"""How many labels each sampler needs."""
