"""Image networks: backbones with their layers and weights, and the networks that are tuned on responses."""
