"""`--mode=directions`: directions of a network, found in one of four ways."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from stylegan_jax.images import directions, labels, styles
from stylegan_jax.images.directions import Direction
from stylegan_jax.metrics.attributes import Attributes
from stylegan_jax.weights.network import Network

WAYS = ("svm", "svm_layers", "pca", "sefa")


def find(
    network: Network,
    way: str,
    seeds: Sequence[int],
    class_numbers: Sequence[int | None] = (None,),
    attributes: Attributes | Mapping[str, np.ndarray] | None = None,
    layers: Sequence[int] | None = None,
    progress_fn: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Direction], list[str]]:
    """Returns directions, and notes about attributes that have none.

    Args:
        network: network to find them for.
        way: "svm", a linear SVM of w on attributes (InterFaceGAN); "svm_layers", the same on images with a w for each
            resolution, which tells layers apart; "pca" (GANSpace); or "sefa" (SeFa).
        seeds: numbers of the latents.
        class_numbers: classes that take turns, in a conditional network.
        attributes: what is asked of the images; or which of them have each attribute, bool [len(seeds)].
        layers: layers whose style weights count, and that the directions then move; None: all. For "sefa" alone.
        progress_fn: called with the number of images that are done, and of all.

    Raises:
        ValueError: there is no such way, the network has no styles, or no attribute has enough images.
    """
    if way not in WAYS:
        raise ValueError(f"there is no way {way!r} to find directions; use one of {', '.join(WAYS)}.")
    styles.check_styles(network)
    draw_fn = labels.draw_mixed_w if way == "svm_layers" else labels.draw_w
    w = draw_fn(network, seeds, class_numbers)
    if way == "pca":
        found = directions.pca_directions(w)
    elif way == "sefa":
        found = directions.sefa_directions(network, w, layers=layers)
        if layers is not None:
            found = [directions.restricted(d, layers, network.model.num_layers) for d in found]
    else:
        if isinstance(attributes, Attributes):
            logits = labels.logits_of(network, labels.for_layers(w, network), attributes, progress_fn)
            attributes = dict(zip(attributes.names, logits.T > 0, strict=True))
        return _of_machines(network, w, attributes)
    return [dataclasses.replace(d, network=network.sha256) for d in found], []


def _of_machines(
    network: Network, w: np.ndarray, present: Mapping[str, np.ndarray]
) -> tuple[list[Direction], list[str]]:
    """Returns the direction of each attribute, and notes about those that too few images have, or lack.

    The styles w are [n, w_size], or those of `labels.draw_mixed_w` [n, num_layers / 2, w_size].
    """
    found, notes = [], []
    for name, is_present in present.items():
        try:
            one = directions.svm_direction(w, is_present, name)
        except directions.TooFew as error:
            notes.append(str(error))
            continue
        if w.ndim == 3:  # Both layers of a resolution move; each normal counts half.
            vector, normal = np.repeat(one.vector, 2, axis=0), np.repeat(one.normal, 2, axis=0) / 2
            one = dataclasses.replace(one, vector=vector, normal=normal)
        found.append(dataclasses.replace(one, network=network.sha256))
    if not found:
        raise ValueError(notes[0])
    return found, notes
