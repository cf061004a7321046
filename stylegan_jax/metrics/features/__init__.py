"""Feature networks: pure functions from uint8 images to features, of parameters that are plain dicts of arrays."""
