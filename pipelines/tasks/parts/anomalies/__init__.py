"""What anomaly detection is made of: rows of any kind as vectors, detectors, a network that says them again."""
