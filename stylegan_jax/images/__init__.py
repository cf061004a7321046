"""What one makes with a trained network."""
