"""Training: losses, pictures on the device, the one loop, and what it watches."""
