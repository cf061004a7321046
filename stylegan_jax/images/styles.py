"""The layers of a network that styles act on: which there are, which are trained so far, what they carry."""

from collections.abc import Sequence

from stylegan_jax.weights.network import Network


def check_styles(network: Network) -> None:
    """Raises ValueError unless the layers of a network have styles that w can be changed for."""
    if network.params is None or not network.model.use_styles:
        raise ValueError(f"{network.info.source} has no styles, as Progressive GAN; this needs a StyleGAN's network.")


def trained_sizes(network: Network) -> list[int]:
    """Returns the resolution of each layer that has a part in the images, px: in the middle of training, not of all."""
    return [r for r in network.model.resolutions if r <= network.resolution for _ in range(2)]


def trained_layers(network: Network) -> range:
    """Returns the numbers of the layers that have a part in the images."""
    return range(len(trained_sizes(network)))


def check_trained(network: Network, layers: Sequence[int] | None) -> None:
    """Raises ValueError if none of `layers` has a part in the images yet; None: all."""
    trained = trained_layers(network)
    if layers is not None and network.resolution < network.model.resolution and not {*layers} & {*trained}:
        raise ValueError(
            f"layers {', '.join(map(str, layers))} have no part in the images yet: this network is trained up to "
            f"{network.resolution} px, which are the layers 0 to {trained[-1]}; name some of these."
        )


def style_bounds(network: Network) -> tuple[int, int]:
    """Returns the first layer of the middle styles and that of the fine styles.

    They are 4 and 8 from 12 layers on: coarse styles are those of 4 and 8 px, middle ones of 16 and 32 px. With fewer
    layers, coarse, middle and fine styles have a third of them each. Layers that are not trained yet do not count.
    """
    num_layers = len(trained_layers(network))
    return min(4, num_layers // 3), min(8, -(-2 * num_layers // 3))
