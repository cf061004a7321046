"""StyleGAN (Karras et al. 2019) in JAX and Flax."""
