"""The operations and bytes that a step and a sample need, from the shapes of the networks alone."""

from typing import NamedTuple

from stylegan_jax.config import Config, Model, Train

FLOAT32_BYTES = 4  # Bytes of a parameter, of its average and of its optimizer's memory, at every precision.


class Layer(NamedTuple):
    """The work of one convolution or dense layer on one image."""

    multiply_adds: int
    elements: int  # Elements of the input, read once, and of the output, written once.
    num_weights: int


class Work(NamedTuple):
    """The work on a batch."""

    flops: float  # 2 x multiply-adds.
    num_bytes: float  # Lower bound of the bytes moved.


def _dense(inputs: int, outputs: int) -> Layer:
    return Layer(inputs * outputs, inputs + outputs, inputs * outputs)


def _conv(resolution: int, inputs: int, outputs: int, kernel_size: int = 3) -> Layer:
    num_weights = kernel_size**2 * inputs * outputs
    return Layer(resolution**2 * num_weights, resolution**2 * (inputs + outputs), num_weights)


def _resampling_conv(low: int, low_fmaps: int, high_fmaps: int) -> Layer:
    """Returns a 3x3 convolution between `low` px and twice that: four 2x2 kernels, 16 taps per low-resolution pixel."""
    elements = low**2 * (low_fmaps + 4 * high_fmaps)
    return Layer(16 * low**2 * low_fmaps * high_fmaps, elements, 9 * low_fmaps * high_fmaps)


def mapping_layers(model: Model) -> list[Layer]:
    """Returns the layers that make one w from one z."""
    label_size = (model.z_size if model.embed_labels else model.num_labels) if model.num_labels else 0
    sizes = [model.z_size + label_size, *[model.mapping_fmaps] * (model.mapping_layers - 1), model.w_size]
    return [_dense(*pair) for pair in zip(sizes, sizes[1:], strict=False)] if model.mapping_layers else []


def synthesis_layers(model: Model, resolution: int) -> list[Layer]:
    """Returns the layers that make one image of `resolution` px from its w's, when no resolution fades in."""
    layers = [] if model.const_input else [_dense(model.w_size, 16 * model.fmaps(4))]
    for r in (r for r in model.resolutions if r <= resolution):
        fmaps = model.fmaps(r)
        layers += [_resampling_conv(r // 2, model.fmaps(r // 2), fmaps)] if r > 4 else []
        layers += [_conv(r, fmaps, fmaps)]
        layers += 2 * [_dense(model.w_size, 2 * fmaps)] if model.use_styles else []
    return [*layers, _conv(resolution, model.fmaps(resolution), model.channels, kernel_size=1)]


def discriminator_layers(model: Model, resolution: int) -> list[Layer]:
    """Returns the layers that score one image of `resolution` px, when no resolution fades in."""
    layers = [_conv(resolution, model.channels, model.fmaps(resolution), kernel_size=1)]
    for r in (r for r in reversed(model.resolutions) if 4 < r <= resolution):
        layers += [
            _conv(r, model.fmaps(r), model.fmaps(r)),
            _resampling_conv(r // 2, model.fmaps(r // 2), model.fmaps(r)),
        ]
    stddev_fmaps = model.stddev_features if model.stddev_group else 0
    layers += [_conv(4, model.fmaps(4) + stddev_fmaps, model.fmaps(4)), _dense(16 * model.fmaps(4), model.fmaps(2))]
    return [*layers, _dense(model.fmaps(2), max(model.num_labels, 1))]


def num_passes(train: Train) -> tuple[float, float]:
    """Returns the cost of an iteration for the generator and for the discriminator, in forward passes.

    A layer's gradient by its input is one pass, and that by its weights another. The generator runs forward in the
    discriminator's update, and forward and backward in its own: 1 + 3. The discriminator scores the generator's fakes
    and returns a gradient to them, 2; its own loss takes 3 on reals and 3 on fakes. A gradient penalty turns 3 into 6:
    the gradient by the images is one pass, and the gradient of that two. WGAN-GP has images of its own: 6 more.
    """
    on_reals = 3 + (3 / train.r1_interval if train.r1_gamma else 0)
    on_fakes = 6 if train.r2_gamma else 3
    return 4, 2 + on_reals + on_fakes + (6 if train.gp_lambda else 0)


def _moved(layers: list[Layer], batch: int, element_bytes: int) -> int:
    """Returns the bytes of one pass: inputs, outputs and weights once each, nothing for what can be fused."""
    return element_bytes * sum(batch * layer.elements + layer.num_weights for layer in layers)


def _flops(layers: list[Layer]) -> int:
    return 2 * sum(layer.multiply_adds for layer in layers)


def forward_flops(model: Model, resolution: int) -> tuple[int, int]:
    """Returns the operations per image of the generator, mapping included, and of the discriminator."""
    return _flops(mapping_layers(model) + synthesis_layers(model, resolution)), _flops(
        discriminator_layers(model, resolution)
    )


def step_work(config: Config, resolution: int, batch: int, element_bytes: int) -> Work:
    """Returns the work of a training step.

    Its bytes are `_moved` in every pass, and those that an update reads and writes: parameters and squared gradients of
    both networks, and the generator's average. Layers above `resolution` do not count.

    Args:
        config: settings.
        resolution: size of the images, px.
        batch: images.
        element_bytes: bytes of a feature.
    """
    num_latents = 2 if config.train.style_mixing_prob else 1
    g = num_latents * mapping_layers(config.model) + synthesis_layers(config.model, resolution)
    d = discriminator_layers(config.model, resolution)
    g_passes, d_passes = num_passes(config.train)
    unique = mapping_layers(config.model) + synthesis_layers(config.model, resolution)
    updated = 6 * sum(layer.num_weights for layer in unique) + 4 * sum(layer.num_weights for layer in d)
    moved = g_passes * _moved(g, batch, element_bytes) + d_passes * _moved(d, batch, element_bytes)
    return Work(batch * (g_passes * _flops(g) + d_passes * _flops(d)), moved + FLOAT32_BYTES * updated)


def sample_work(model: Model, resolution: int, batch: int, element_bytes: int) -> Work:
    """Returns the work of sampling a batch; see `step_work`."""
    layers = mapping_layers(model) + synthesis_layers(model, resolution)
    return Work(batch * _flops(layers), _moved(layers, batch, element_bytes))
