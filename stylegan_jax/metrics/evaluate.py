"""`--mode=evaluate`: measures a network, or pictures, and writes the numbers to metrics.jsonl."""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from stylegan_jax.config import Config, Data, Model
from stylegan_jax.data import decode, images, sources
from stylegan_jax.devices import distributed, mesh
from stylegan_jax.metrics import attributes as attribute_functions
from stylegan_jax.metrics import (
    computation,
    definitions,
    evaluation,
    feature_networks,
    image_sets,
    real_features,
    results,
)
from stylegan_jax.metrics.definitions import Metric, PathLength, Separability, SetMetric
from stylegan_jax.metrics.extraction import OF_PIXELS
from stylegan_jax.metrics.features import shelf
from stylegan_jax.runs import progress
from stylegan_jax.weights import assemble, checkpoints, load, trees
from stylegan_jax.weights.network import Network


@dataclasses.dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
        metrics: their names; see `definitions`.
        network: file, workdir or checkpoint of a network; or None, for pictures.
        checkpoint: images of a checkpoint in a workdir; None for the newest.
        fakes: pictures in place of a network's images; or None.
        reals: source of the real pictures; None: that of the network's run, or of `config`.
        config: settings of how pictures become squares; None: those of the network's run, or the defaults.
        seeds: seeds of the draws; the numbers of all are written, their mean and spread are shown.
        weights: folder of the feature networks' weights.
        attributes: what separability asks: "celeba", "faces", or a file of experiments/attribute_network; None for
            "celeba".
    """

    metrics: Sequence[str]
    network: str | None = None
    checkpoint: int | None = None
    fakes: str | None = None
    reals: str | None = None
    config: Config | None = None
    seeds: Sequence[int] = (0,)
    weights: pathlib.Path | None = None
    attributes: str | None = None


def evaluate(request: Request, folder: pathlib.Path) -> str:
    """Measures, writes each number to metrics.jsonl in a folder as it comes, and returns all of them as a table.

    Weights, networks and settings are checked before pictures are read.

    Raises:
        ValueError: a metric, network, source or file of weights that does not exist or cannot be used; it says what to
            do.
        OSError: a disk failed.
    """
    metrics = definitions.parse(request.metrics)
    with distributed.together():
        results.check_file(folder)
    if (request.network is None) == (request.fakes is None):
        raise ValueError("name a network (--network=FILE_OR_WORKDIR) or pictures (--fakes=PICTURES): one of the two.")
    if request.network is None and request.checkpoint is not None:
        raise ValueError(f"--checkpoint={request.checkpoint} has no effect: --fakes={request.fakes} is measured.")
    if request.attributes is not None and not any(isinstance(m.definition, Separability) for m in metrics):
        raise ValueError(f"--attributes={request.attributes} has no effect: none of the metrics is a separability.")
    devices = mesh.make_mesh()
    tools = open_tools(metrics, request.weights, request.attributes or "celeba", devices)
    network = None if request.network is None else load.load(request.network, request.checkpoint)
    config = settings_for(request.config, request.network)
    model = _model_of_pictures(request, config) if network is None else network.model
    reals, notes = _reals(request, metrics, config, model)
    made, pictures = None, None
    if network is not None:
        made, more = generator_of(network, None if reals is None else reals.images, devices)
        notes, about = notes + more, _about_network(network)
    else:
        found = _open(dataclasses.replace(config.data, source=request.fakes), model, "pictures")
        pictures = image_sets.select(found, model.resolution, "shuffled", found.length)
        notes.append(f"fakes: {found.length} pictures of {found.name}, at {model.resolution} px")
        about = {"fakes": {"source": found.name, "fingerprint": found.fingerprint, "number": found.length}}
    found_here: list[Any] = [{name: value for name, value in one.items() if name != "source"} for one in about.values()]
    found_here += [None if reals is None else reals.images.fingerprint, list(request.metrics), list(request.seeds)]
    distributed.check_same("the network, pictures, --metrics or --seeds", json.dumps(found_here))
    about["remarks"] = notes
    for note in (*_notes_of(tools), *notes) if distributed.process_index() == 0 else ():
        print(f"note: {note}")
    evaluator = evaluation.Evaluator(metrics, reals, tools, pictures)
    measured: list[results.Result] = []

    def compute(pending: Sequence[evaluation.Pending]) -> None:
        for one in pending:
            print(f"computing {one.metric.name}", flush=True)
            with progress.counting(one.metric.name) as progress_fn:
                measured.append(one.compute_fn(progress_fn))
            results.append(folder, measured[-1], about)

    for seed in request.seeds:
        pending = _shown(evaluator.run(made, seed))
        distributed.alone(functools.partial(compute, pending))
    for spread in results.spreads(measured):
        results.append(folder, spread, about)
    return "\n".join([results.table(measured), *_kept(measured, tools.cache)])


def _kept(measured: Sequence[results.Result], cache: pathlib.Path | None) -> list[str]:
    """Returns a line that says under which keys the features of real pictures are kept, if there are any."""
    keys = {r.about["reals"].get("kept_as"): r.about["features"] for r in measured if "reals" in r.about}
    named = ", ".join(f"{key} ({kind})" for key, kind in keys.items() if key)
    return [f"features of the real pictures are kept in {cache} as {named}"] if named and cache else []


def open_tools(
    metrics: Sequence[Metric], weights: pathlib.Path | None, attributes: str, devices: jax.sharding.Mesh
) -> computation.Tools:
    """Returns what metrics need besides images.

    Raises:
        ValueError: weights are missing; one sentence for each file. Or processes have different ones.
    """
    kinds = {m.definition.features: m.name for m in metrics if isinstance(m.definition, SetMetric)}
    kinds = {kind: name for kind, name in kinds.items() if kind not in OF_PIXELS}
    paths = next((m.name for m in metrics if isinstance(m.definition, PathLength)), None)
    asks = any(isinstance(m.definition, Separability) for m in metrics)
    weights = weights or shelf.default_folder()
    with distributed.together():
        networks = feature_networks.open_kinds(kinds, weights, devices)
        distance = None if paths is None else feature_networks.open_distance(paths, weights, devices)
        asked = attribute_functions.named(attributes, weights) if asks else None
        cache = real_features.open_folder()
    opened = [one.content_sha256 for one in (*networks.values(), distance) if one] + [asked and asked.sha256]
    distributed.check_same("weights of feature networks (--weights, --attributes)", str(opened))
    return computation.Tools(networks, distance, asked, devices, cache or pathlib.Path(tempfile.gettempdir()), cache)


def metrics_of_networks() -> dict[str, list[str]]:
    """Returns the feature networks whose weights are files, and the metrics that need each."""
    found: dict[str, list[str]] = {}
    for name, definition in definitions.TABLE.items():
        if isinstance(definition, SetMetric):
            kind = feature_networks.KINDS.get(definition.features)
            network = kind and kind.network
        else:
            network = "vgg" if isinstance(definition, PathLength) else "celeba"
        if network:
            found.setdefault(network, []).append(name)
    return found


def settings_for(config: Config | None, network: str | None) -> Config:
    """Returns the settings by which pictures are read: those given, those of the network's run, or the defaults."""
    if config is not None:
        return config
    if network is not None:
        path = pathlib.Path(os.path.expanduser(network))
        if checkpoints.is_run(path):
            return checkpoints.settings_of(path.parent.parent if path.parent.name == "checkpoints" else path)
    return Config(data=Data(source=""))


def _model_of_pictures(request: Request, config: Config) -> Model:
    """Returns a model of the size and the channels that pictures are measured at: those of the first one.

    Raises:
        ValueError: that is no square of a power of two, and no settings say what to make of it.
    """
    if request.config is not None:
        return config.model
    source = sources.open_source(dataclasses.replace(config.data, source=request.fakes), config.model.resolution)
    try:
        if source.sizes:
            return dataclasses.replace(config.model, resolution=source.sizes[-1], channels=source.channels)
        first = decode.load(source.read_fn(0), config.data.max_pixels)
        size, is_square = first.height, first.height == first.width and first.height & (first.height - 1) == 0
        if source.read_many_fn is not None or not (is_square and 8 <= size <= 1024):
            raise ValueError(
                f"{source.path} has pictures of {first.width}x{first.height} px; say what squares they are brought to, "
                "such as --config=pictures --config.model.resolution=256."
            )
        return dataclasses.replace(config.model, resolution=size)
    finally:
        source.close_fn()


def _reals(
    request: Request, metrics: Sequence[Metric], config: Config, model: Model
) -> tuple[evaluation.Reals | None, list[str]]:
    """Returns the real pictures, if a metric or the labels of fakes take any, and what to say of them."""
    source = request.reals or config.data.source
    takes_reals = any(isinstance(m.definition, SetMetric) and m.definition.reals != "none" for m in metrics)
    if not (takes_reals or (model.num_labels and source and request.network)):
        if request.reals:
            raise ValueError(f"--reals={request.reals} has no effect: none of the metrics compares with real pictures.")
        return None, []
    if not source:
        raise ValueError("real pictures are to be compared with, and none are named; use --reals=PICTURES.")
    data = dataclasses.replace(config.data, source=source)
    found = _open(data, model, "real pictures")
    flips = "; they are flipped too, as in training, where the definition says so" if data.mirror else ""
    notes = [f"real pictures: {found.length} of {source}, at {model.resolution} px by data.fit={data.fit}{flips}"]
    return evaluation.Reals(found, model.resolution, data.mirror), notes


def _open(data: Data, model: Model, name: str) -> images.Images:
    if data.source == "faces":  # They are drawn when they are needed: few metrics take all of them.
        data = dataclasses.replace(data, cache_gib=0.0)
    # Classes are looked at later: other classes than the network's are no fault of the pictures.
    with progress.counting(name) as progress_fn:
        return images.open_images(data, dataclasses.replace(model, num_labels=0), progress_fn)


def generator_of(
    network: Network, reals: images.Images | None, devices: jax.sharding.Mesh
) -> tuple[image_sets.Generator, list[str]]:
    """Returns a network as metrics take it, and what to say of it.

    Args:
        network: from weights.load.
        reals: pictures whose classes the labels are drawn from; or None.
        devices: devices that hold the parameters.
    """
    model, notes, classes = network.model, [], None
    if network.params is None:
        raise ValueError(f"{network.info.source} holds a discriminator alone, which makes no images.")
    for note in assemble.not_finite(trees.flat(network.params).items()):  # Its images would be black, and no error.
        raise ValueError(f"{network.info.source} cannot be measured. {note}")
    if model.num_labels:
        known_classes = None if reals is None else reals.classes
        if known_classes is not None and len(known_classes.names) == model.num_labels:
            classes = known_classes.labels
            notes.append(labels_note(reals))
            if network.class_names and network.class_names != known_classes.names:
                notes.append("the real pictures' classes have other names than the network's; they go by their numbers")
        else:
            classes = np.arange(model.num_labels)
            notes.append("labels are drawn uniformly, since there are no real pictures of the network's classes")
    if network.alpha < 1 or network.resolution < model.resolution:
        notes.append(
            f"the network is trained at {network.resolution} px so far (alpha {network.alpha:g}); its images are "
            f"enlarged to {model.resolution} px"
        )
    params = mesh.put(network.params, mesh.replicated(devices))
    return image_sets.Generator(params, model, network.resolution, network.alpha, classes), notes


def labels_note(reals: images.Images) -> str:
    """Returns what is said beside the numbers of a conditional network, whose labels are drawn from `reals`."""
    return f"labels are those of random real pictures (fingerprint {reals.fingerprint}), as StyleGAN2-ADA does"


def digest(params: Any) -> str:
    """Returns a digest of a generator's arrays."""
    return trees.sha256(trees.flat(jax.device_get(params)))


def _about_network(network: Network) -> dict[str, Any]:
    """Returns what is written of a network beside each of its numbers."""
    about: dict[str, Any] = {"source": network.info.source, "sha256_of_arrays": digest(network.params)}
    about |= {"resolution": network.resolution, "alpha": network.alpha, "compute_dtype": network.model.compute_dtype}
    return {"network": about if network.info.nimg is None else about | {"nimg": network.info.nimg}}


def _notes_of(tools: computation.Tools) -> Iterator[str]:
    """Yields what a user should know of the weights that metrics use."""
    opened = [*tools.networks.values(), *([tools.distance] if tools.distance else [])]
    yield from dict.fromkeys(note for network in opened for note in network.notes)
    if tools.attributes is not None:
        yield f"separability asks for {tools.attributes.description}"


def _shown(steps: evaluation.Steps) -> list[evaluation.Pending]:
    """Runs an evaluation, shows how far it is, and returns what is left to compute."""
    with contextlib.ExitStack() as stack:
        name, show = None, None
        while True:
            try:
                now = next(steps)
            except StopIteration as end:
                return end.value
            if now.what != name:
                stack.close()
                name, show = now.what, stack.enter_context(progress.counting(now.what))
            show(now.done, now.total)
