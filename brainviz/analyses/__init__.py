"""What tuned networks are asked: how models lie to each other, and what they have learnt from responses."""
