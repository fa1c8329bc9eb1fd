"""The demo data set: simulated pictures and responses whose truth is known, in the Algonauts layout."""

from brainviz.datasets.demo.write import DEMO_VERSION, holds_demo, write_demo

__all__ = ["DEMO_VERSION", "holds_demo", "write_demo"]
