"""Runs: what was asked for, where results are kept, and who computes them."""
