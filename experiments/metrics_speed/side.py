"""One side of the comparison, in a process of its own: answers each line of stdin with a line of JSON.

    python -m experiments.metrics_speed.side ours                     ours
    PYTHON experiments/metrics_speed/side.py pytorch_fid              where torch, torchvision and pytorch-fid are
    PYTHON experiments/metrics_speed/side.py torch_fidelity           where torch, torchvision and torch-fidelity are

A request is {"task", "count"}: "features" of that many pictures of 256 px, or distances of that many "pairs".
The answer is the time that it took, wall_sec, and the time of all cores, cpu_sec. Weights are random.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np

PX = 256
HEAD_MAPS = (64, 128, 256, 512, 512)
Task = Callable[[np.ndarray], object]


def ours() -> dict[str, Task]:
    """Returns the tasks by our own functions."""
    import jax
    from jax.sharding import PartitionSpec

    from stylegan_jax.devices import backend, mesh
    from stylegan_jax.metrics.features import inception, vgg

    backend.use_all_cores()  # As --mode=evaluate does.
    backend.keep_freed_memory()
    devices, whole, part = mesh.make_mesh(), PartitionSpec(), PartitionSpec(mesh.AXIS)
    rng = np.random.default_rng(0)

    def params(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        scaled = {f"{name}/kernel": (shape, np.sqrt(2 / np.prod(shape[:-1]))) for name, shape in shapes.items()}
        kernels = {name: np.float32(scale * rng.standard_normal(shape)) for name, (shape, scale) in scaled.items()}
        return kernels | {f"{name}/bias": np.zeros(shape[-1], np.float32) for name, shape in shapes.items()}

    of_inception = params(inception.shapes()) | {"output/kernel": np.zeros((2048, 1008), np.float32)}
    sizes = zip((3, *vgg.MAPS), vgg.MAPS, strict=False)
    of_vgg = params({f"conv{k}": (3, 3, inputs, maps) for k, (inputs, maps) in enumerate(sizes, 1)})
    of_vgg |= {f"head{k}": np.ones(maps, np.float32) for k, maps in enumerate(HEAD_MAPS, 1)}
    of_inception, of_vgg = mesh.put((of_inception, of_vgg), mesh.replicated(devices))

    def split(fn: Callable, num_images: int) -> Callable:
        """Returns a compiled function of parameters and images that are split over the devices."""
        return jax.jit(mesh.per_device(fn, mesh.split(devices), (whole, *[part] * num_images), part))

    def put(images: np.ndarray) -> jax.Array:
        return mesh.put(images, mesh.split(devices))

    features, distances = split(inception.apply, 1), split(vgg.lpips, 2)

    def pairs(images: np.ndarray) -> object:
        first = images.astype(np.float32) / 127.5 - 1
        return distances(of_vgg, put(first), put(first[:, ::-1]))

    return {
        "features": lambda x: jax.device_get(features(of_inception, put(x))),
        "pairs": lambda x: jax.device_get(pairs(x)),
    }


def _torchvision():
    """Returns torchvision, also beside a torch without its compiled operations, which these networks do not use."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        _torchvision.library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _torchvision.library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision


def _random_inception():
    """Returns pytorch-fid's Inception, with random weights in place of a download."""
    from unittest import mock

    _torchvision()
    import pytorch_fid.inception
    import torch

    with (
        mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url", lambda *args, **kwargs: {}),
        mock.patch.object(torch.nn.Module, "load_state_dict", lambda *args, **kwargs: None),
    ):
        return pytorch_fid.inception.fid_inception_v3(), pytorch_fid.inception.InceptionV3([3]).eval()


def pytorch_fid() -> dict[str, Task]:
    """Returns pytorch-fid's features; it has no path length."""
    import torch

    _, network = _random_inception()

    def features(images: np.ndarray) -> object:
        with torch.no_grad():
            return network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)[0].numpy()

    return {"features": features}


def torch_fidelity() -> dict[str, Task]:
    """Returns torch-fidelity's features, and LPIPS as its path length calls it: float32, images in their own size."""
    import tempfile
    from unittest import mock

    import torch

    weights, _ = _random_inception()
    from torch_fidelity import feature_extractor_inceptionv3, sample_similarity_lpips

    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(weights.state_dict(), file.name)
        network = feature_extractor_inceptionv3.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=file.name
        ).eval()
    heads = {f"lin{k}.model.1.weight": torch.ones(1, maps, 1, 1) for k, maps in enumerate(HEAD_MAPS)}
    vgg16 = _torchvision().models.vgg16
    with (
        mock.patch.object(sample_similarity_lpips, "load_state_dict_from_url", lambda *args, **kwargs: heads),
        mock.patch.object(sample_similarity_lpips, "torchvision_load_pretrained_vgg16", vgg16),
    ):
        lpips = sample_similarity_lpips.SampleSimilarityLPIPS("lpips-vgg16")

    def tensor(images: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def features(images: np.ndarray) -> object:
        with torch.no_grad():
            return [part.numpy() for part in network(tensor(images))]

    def pairs(images: np.ndarray) -> object:
        first = tensor(images)
        with torch.no_grad():
            return lpips(first, first.flip(2)).numpy()

    return {"features": features, "pairs": pairs}


def main(side: str) -> None:
    """Answers requests until they end."""
    tasks = {"ours": ours, "pytorch_fid": pytorch_fid, "torch_fidelity": torch_fidelity}[side]()
    for line in sys.stdin:
        request = json.loads(line)
        images = np.random.default_rng(0).integers(0, 256, (request["count"], PX, PX, 3), np.uint8)
        wall, cpu = time.perf_counter(), time.process_time()
        tasks[request["task"]](images)
        answer = {"wall_sec": time.perf_counter() - wall, "cpu_sec": time.process_time() - cpu}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
