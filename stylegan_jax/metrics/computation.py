"""What is left of a metric when its images are seen: the formula, its floor, and what is said of both."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from stylegan_jax.metrics import definitions, kid, labelled_latents, ppl, real_features, separability
from stylegan_jax.metrics.attributes import Attributes
from stylegan_jax.metrics.definitions import BIASED_BELOW, Metric, SetMetric, Values
from stylegan_jax.metrics.feature_networks import KINDS, Opened
from stylegan_jax.metrics.image_sets import Pictures
from stylegan_jax.metrics.results import Result

MOST_PROCESSES = 8  # That fit support vector machines; each takes up to 1.5 GB.
ProgressFn = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Tools:
    """What metrics need besides images.

    Attributes:
        networks: feature networks by their kinds.
        distance: VGG16 with the heads of LPIPS; None if no path length is asked for.
        attributes: what separability asks of the images; None if it is not asked for.
        devices: all devices.
        folder: where rows of features lie, in files without a name.
        cache: where features of real pictures stay; None: nowhere.
    """

    networks: Mapping[str, Opened]
    distance: Opened | None
    attributes: Attributes | None
    devices: jax.sharding.Mesh
    folder: pathlib.Path
    cache: pathlib.Path | None


@dataclasses.dataclass(frozen=True)
class Against:
    """Real pictures that a metric of sets compares with.

    Attributes:
        pictures: which they are.
        found: what was collected of them.
        floors: what metrics gave for them, by the metrics' names; kept for the next evaluation.
    """

    pictures: Pictures
    found: Any
    floors: dict[str, Values]


def of_sets(
    metric: Metric, fakes: Any, against: Against | None, network: Opened | None, seed: int, progress_fn: ProgressFn
) -> Result:
    """Returns the result of a metric of sets.

    Args:
        metric: the metric.
        fakes: what was collected of the fakes, as many as the metric takes or more.
        against: the real pictures, if it takes any.
        network: the feature network; None for metrics of pixels.
        seed: of what the metric draws.
        progress_fn: not called: nothing here takes long.
    """
    definition: SetMetric = metric.definition
    fakes = fakes.first(min(metric.count, len(fakes)))  # Of pictures in their place there may be fewer.
    about: dict[str, Any] = {"num_images": len(fakes), "features": definition.features}
    about["resize"] = "none" if network is None else KINDS[network.kind].resize
    if network is not None:
        about["weights"] = network.about
    if against is None:
        return _result(metric, _values(metric, fakes, None, seed), {}, "", seed, about)
    pictures = against.pictures
    is_biased = definition.is_frechet and min(len(fakes), len(against.found)) < BIASED_BELOW
    floor, floor_text = _floor(metric, against, is_biased)
    about["reals"] = {
        "pictures": pictures.text,
        "number": pictures.count,
        "source": pictures.images.name,
        "fingerprint": pictures.images.fingerprint,
        "resolution": pictures.resolution,
    }
    if network is not None:
        about["reals"]["kept_as"] = str(real_features.key_of(pictures, network))
    values = _values(metric, fakes, against.found, seed, is_biased)
    return _result(metric, values, floor, floor_text, seed, about)


def of_latents(
    metric: Metric, batches: list[Any], batch_size: int, tools: Tools, seed: int, progress_fn: ProgressFn
) -> Result:
    """Returns the result of a path length or a separability.

    Args:
        metric: the metric.
        batches: all that `latent_metrics` yielded for it.
        batch_size: pairs or images at a time: with the seed and the devices it decides about what is drawn.
        tools: as of the evaluation.
        seed: of what the metric draws.
        progress_fn: is called with (attributes done, attributes in all).
    """
    definition = metric.definition
    about: dict[str, Any] = {"batch": batch_size, "num_devices": tools.devices.devices.size}
    if isinstance(definition, definitions.PathLength):
        about |= dataclasses.asdict(definition.definition) | {"num_pairs": metric.count, "computed_in": "float32"}
        about |= {"resize": f"box means to at most {ppl.LARGEST_PX} px", "weights": tools.distance.about}
        return _result(metric, {metric.name: ppl.path_length(np.concatenate(batches))}, {}, "", seed, about)
    found, asked = labelled_latents.collected(batches, metric.count), tools.attributes
    score = separability.result(
        found[definition.space],
        found["logits"],
        asked.names,
        definition.method,
        seed=seed,
        num_processes=min(os.cpu_count() or 1, MOST_PROCESSES),
        progress_fn=progress_fn,
    )
    about |= {"num_images": metric.count, "method": definition.method, "resize": "box means to the network's size"}
    about |= {"weights": {"sha256": asked.sha256}}
    about |= {"attributes": asked.description, "entropies": score["entropies"], "shares": score["shares"]}
    return _result(metric, {metric.name: score["ls"]}, {}, "", seed, about)


def _values(metric: Metric, fakes: Any, reals: Any, seed: int, with_kid: bool = False) -> Values:
    """Returns the numbers of a metric by their whole names, and KID where it is to stand beside them."""
    values = metric.definition.compute_fn(fakes, reals, seed)
    named = {f"{metric.name}_{end}" if end else metric.name: value for end, value in values.items()}
    if with_kid:
        named[f"{metric.name}_kid"] = kid.stylegan2_ada(fakes.rows, reals.rows, seed).mean
    return named


def _floor(metric: Metric, against: Against, with_kid: bool) -> tuple[Values, str]:
    """Returns what a metric gives for real pictures, by the numbers' whole names, and what they are."""
    reals = against.found
    if metric.definition.floor == "reals":
        return _values(metric, reals, reals, 0), f"{len(reals):,} real pictures"
    halves = reals.half(0), reals.half(1)
    fewest = min(map(len, halves))
    if fewest < metric.definition.fewest:
        return {}, ""
    if metric.name not in against.floors:
        against.floors[metric.name] = _values(metric, *halves, 0, with_kid)
    return against.floors[metric.name], f"real pictures: one half against the other, {fewest:,} each"


def _result(metric: Metric, values: Values, floor: Values, floor_text: str, seed: int, about: dict[str, Any]) -> Result:
    notes = []
    count = about.get("num_images", metric.count)
    if count != metric.definition.count:
        notes.append(f"{metric.name}: the definition's number is {metric.definition.count:,}, not {count:,}")
    if f"{metric.name}_kid" in values:
        notes.append(
            f"{metric.name} is biased upwards, since there are fewer than {BIASED_BELOW:,} images of a kind; the "
            "kernel distance beside it is not"
        )
    return Result(metric.name, values, floor, floor_text, metric.definition.what, seed, about, tuple(notes))
