"""Figures: arrays and frames in, plotly figures out; nothing here computes a result, reads a run or imports torch."""
