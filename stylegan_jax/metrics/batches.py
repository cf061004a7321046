"""How many images a metric takes to the device at a time."""

MAX_IMAGES = 128
MAX_PIXELS = 2**22  # 4 images of 1024 px: 0.1 GB of temporaries on a GPU, 0.5 GB on a CPU.


def slices(num_images: int, size: int) -> list[slice]:
    """Returns parts of a set of images of `size` px, each small enough for the device."""
    batch = max(1, min(MAX_IMAGES, MAX_PIXELS // size**2))
    return [slice(first, min(first + batch, num_images)) for first in range(0, num_images, batch)]
