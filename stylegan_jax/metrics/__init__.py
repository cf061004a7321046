"""Quality metrics. Each takes arrays or functions, and none knows the training loop."""
