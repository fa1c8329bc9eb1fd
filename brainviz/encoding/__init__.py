"""Encoding models: layer features, principal components, ridge regression, and how good the predictions are."""
