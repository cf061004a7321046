"""Measures a generator, or pictures in its place: features once, then every metric that can be had from them.

An evaluation is a generator of small steps, each of which gives the devices one batch and takes the results of the one
before: `--mode=evaluate` runs through them, and training puts them between its own.
"""

import dataclasses
import functools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from jax.tree_util import Partial

from stylegan_jax.data.images import Images
from stylegan_jax.devices import distributed
from stylegan_jax.metrics import computation, definitions, extraction, image_sets, latent_metrics, real_features, swd
from stylegan_jax.metrics.computation import ProgressFn, Tools
from stylegan_jax.metrics.definitions import BIASED_BELOW, Metric, SetMetric, Values
from stylegan_jax.metrics.extraction import OF_PIXELS, Progress, Wanted
from stylegan_jax.metrics.feature_networks import KINDS
from stylegan_jax.metrics.features import vgg
from stylegan_jax.metrics.results import Result


@dataclasses.dataclass(frozen=True)
class Pending:
    """A metric whose images are seen; `compute_fn` does the rest on the host, and returns the result.

    It takes a function that is called with (parts done, parts in all), where there are several.
    """

    metric: Metric
    compute_fn: Callable[[ProgressFn], Result]


Steps = Generator[Progress, None, list[Pending]]


@dataclasses.dataclass(frozen=True)
class Reals:
    """The real pictures that are compared with.

    Attributes:
        images: the source's.
        resolution: px that they are read at.
        is_mirrored: whether training flips them.
    """

    images: Images
    resolution: int
    is_mirrored: bool


class Evaluator:
    """Measures generators by the same metrics, against the same real pictures, whose features it keeps."""

    def __init__(
        self,
        metrics: Sequence[Metric],
        reals: Reals | None,
        tools: Tools,
        pictures: image_sets.Pictures | None = None,
    ) -> None:
        """Notes what to measure.

        Args:
            metrics: from definitions.parse.
            reals: the real pictures; None if no metric compares with them.
            tools: what the metrics need.
            pictures: what is measured in place of a generator's images, in random order: metrics of fewer take the
                first ones, and splits and pairs are made by the order. None for generators.

        Raises:
            ValueError: a metric has too few images, or no real pictures, or cannot be had from pictures.
        """
        self._metrics, self._reals, self._tools, self._pictures = metrics, reals, tools, pictures
        self._of_reals: dict[str, dict[str, Any]] = {}  # By Pictures.which and the kind of features.
        self._floors: dict[str, Values] = {}
        self._selections: dict[str, image_sets.Pictures] = {}  # Real pictures of each metric that compares with any.
        for metric in metrics:
            if isinstance(metric.definition, SetMetric):
                self._check(metric)
            elif pictures is not None:
                raise ValueError(f"{metric.name} measures the latents of a network, and pictures have none.")
            elif reals is not None:  # They have the size of the generator's images.
                _check_size(metric, reals.resolution)

    def _check(self, metric: Metric) -> None:
        """Notes the real pictures that a metric of sets compares with, if any, and whether there are enough images."""
        definition, reals = metric.definition, self._reals
        counts = {"fakes": self._num_fakes(metric)}
        if definition.reals != "none":
            if reals is None:
                raise ValueError(f"{metric.name} compares with real pictures; name them with --reals=PICTURES.")
            self._selections[metric.name] = found = image_sets.select(
                reals.images,
                reals.resolution,
                definition.reals,
                metric.count,
                definition.is_mirrored and reals.is_mirrored,
                definition.max_reals,
            )
            counts["real pictures"] = found.count
            _check_size(metric, reals.resolution)
        if min(counts.values()) < definition.fewest:
            found_text = " and ".join(f"{count} {what}" for what, count in counts.items())
            raise ValueError(
                f"{metric.name} takes {definition.fewest} images or more of each kind, and there are {found_text}."
            )

    def _num_fakes(self, metric: Metric) -> int:
        return metric.count if self._pictures is None else min(metric.count, self._pictures.count)

    def _needs_rows(self, metric: Metric) -> bool:
        """Returns whether the formula needs rows, or KID, which is to stand beside a distance of few images."""
        num_images = min(self._num_fakes(metric), self._selections[metric.name].count)
        return metric.definition.needs_rows or (metric.definition.is_frechet and num_images < BIASED_BELOW)

    # ---- the steps

    def run(self, made: image_sets.Generator | None, seed: int) -> Steps:
        """Yields as a generator, or the pictures, are measured; returns what is left to compute, as metrics stand.

        With several processes all run it in step, and the first one has something to compute.

        Args:
            made: the generator; None for the pictures.
            seed: draws latents, noise and labels of the generator, and what metrics draw.
        """
        of_sets = [metric for metric in self._metrics if isinstance(metric.definition, SetMetric)]
        # Made first: a network that cannot be measured so is refused before time is spent.
        of_latents = [(group, self._batches(group, made, seed)) for group in _groups(self._metrics)]
        pending: dict[str, Pending] = {}
        if of_sets:
            for metric in of_sets:
                if metric.name in self._selections:
                    yield from self._collect_reals(metric, of_sets)
            wanted = self._wanted_of_fakes(of_sets)
            count = max(kind.count for kind in wanted.values())
            fakes = self._pictures.first(count) if made is None else image_sets.Fakes(made, count, seed)
            found = yield from self._collect(fakes, wanted, "fakes")
            for metric in of_sets if found else ():
                compute_fn = self._computation(metric, found[metric.definition.features], seed)
                pending[metric.name] = Pending(metric, compute_fn)
        for group, batches in of_latents:
            name, count, taken, done = " and ".join(metric.name for metric in group), group[0].count, [], 0
            size = latent_metrics.batch_size(made, self._tools.devices)
            yield Progress(name, 0, count)
            for batch in batches:
                taken.append(batch)
                done = min(done + size, count)
                yield Progress(name, done, count)
            for metric in group if distributed.process_index() == 0 else ():
                compute_fn = functools.partial(computation.of_latents, metric, taken, size, self._tools, seed)
                pending[metric.name] = Pending(metric, compute_fn)
        return [pending[metric.name] for metric in self._metrics if metric.name in pending]

    def _collect_reals(self, metric: Metric, metrics: Sequence[Metric]) -> Generator[Progress, None, None]:
        """Makes, or reads, the features of the pictures of `metric`, for all metrics that compare with them."""
        pictures = self._selections[metric.name]
        have = self._of_reals.setdefault(pictures.which, {})
        needs_rows: dict[str, bool] = {}
        for m in metrics:
            kind, others = m.definition.features, self._selections.get(m.name)
            if others is not None and others.which == pictures.which and kind not in have:
                needs_rows[kind] = needs_rows.get(kind, False) or self._needs_rows(m)
        wanted = {kind: Wanted(pictures.count, needed) for kind, needed in needs_rows.items()}
        keys = {kind: real_features.key_of(pictures, self._tools.networks[kind]) for kind in wanted if kind in KINDS}
        for kind, content in keys.items():
            kept = None
            if distributed.process_index() == 0:  # The only one that keeps features.
                kept = real_features.read(self._tools.cache, content, pictures.half_of, wanted[kind].needs_rows)
            if distributed.of_first(kept is not None):
                have[kind] = kept
                del wanted[kind]
        if not wanted:
            return
        found = yield from self._collect(pictures, wanted, "real pictures")
        with distributed.together():
            for kind in wanted:
                have[kind] = found.get(kind)
                if kind in keys and kind in found:
                    real_features.write(self._tools.cache, keys[kind], found[kind])

    def _wanted_of_fakes(self, metrics: Sequence[Metric]) -> dict[str, Wanted]:
        """Returns what metrics of sets want of the fakes, by the kind of features."""
        wanted: dict[str, Wanted] = {}
        for metric in metrics:
            before = wanted.get(metric.definition.features)
            count = max(self._num_fakes(metric), before.count if before else 0)
            wanted[metric.definition.features] = Wanted(count, needs_rows=True)
        return wanted

    def _collect(
        self, images: image_sets.ImageSet, wanted: Mapping[str, Wanted], what: str
    ) -> Generator[Progress, None, dict[str, Any]]:
        tools = self._tools
        return (yield from extraction.collect(images, wanted, tools.networks, tools.devices, tools.folder, what))

    def _batches(self, group: list[Metric], made: image_sets.Generator, seed: int) -> Iterator[Any]:
        """Returns the batches of a path length, or of separabilities."""
        tools, definition, count = self._tools, group[0].definition, group[0].count
        _check_size(group[0], made.model.resolution)
        if isinstance(definition, definitions.PathLength):
            exact = dataclasses.replace(definition.definition, num_pairs=count)
            distance_fn = Partial(vgg.lpips, tools.distance.params)
            return latent_metrics.path_distances(made, distance_fn, exact, seed, tools.devices)
        spaces = sorted({metric.definition.space for metric in group})
        return latent_metrics.latents_and_logits(made, tools.attributes, spaces, count, seed, tools.devices)

    def _computation(self, metric: Metric, fakes: Any, seed: int) -> Callable[[ProgressFn], Result]:
        """Returns the rest of a metric of sets."""
        network, against = self._tools.networks.get(metric.definition.features), None
        if metric.definition.reals != "none":
            pictures = self._selections[metric.name]
            found = self._of_reals[pictures.which][metric.definition.features]
            against = computation.Against(pictures, found, self._floors)
        return functools.partial(computation.of_sets, metric, fakes, against, network, seed)


def _check_size(metric: Metric, resolution: int) -> None:
    """Raises ValueError if images are too small for a metric of pixels, or for a path length."""
    definition, fewest_px = metric.definition, 0
    if isinstance(definition, definitions.PathLength):
        fewest_px = vgg.MIN_PX * (2 if definition.definition.crop else 1)  # The crop halves the sides.
    elif isinstance(definition, SetMetric) and definition.features in OF_PIXELS:
        fewest_px = swd.MIN_RESOLUTION
    if resolution < fewest_px:
        raise ValueError(
            f"{metric.name} takes images of {fewest_px} px or more, and these have {resolution} px; leave it out."
        )


def _groups(metrics: Sequence[Metric]) -> list[list[Metric]]:
    """Returns metrics of latents, those together that take the same images: separabilities of as many."""
    groups: dict[Any, list[Metric]] = {}
    for metric in metrics:
        if isinstance(metric.definition, definitions.PathLength):
            groups[metric.name] = [metric]
        elif isinstance(metric.definition, definitions.Separability):
            groups.setdefault(metric.count, []).append(metric)
    return list(groups.values())
