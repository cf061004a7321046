"""What the paper says: mapping, synthesis and discriminator networks, and the functions that they are made of."""
