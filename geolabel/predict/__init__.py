"""Predictors: their contract and registry, the built-in ones, calibration, routing and editable geometry."""
