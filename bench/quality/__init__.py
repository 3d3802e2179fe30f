"""How good predictions are with few labels."""
