"""The training step and the sampling of the PyTorch port, around the networks of its own model.py.

Nothing else of the port is used: the step repeats an iteration of its train.py with --loss r1 --mixing, at alpha 1.
This module needs torch, not JAX.
"""

import functools
import math
import sys
from collections.abc import Callable

import torch
from torch.nn import functional

LATENT_SIZE = 512
LEARNING_RATE = 0.001
MAPPING_LR_MULTIPLIER = 0.01
R1_GAMMA = 10
EMA_DECAY = 0.999
ALPHA = 1
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Networks:
    """Both networks, the averaged generator and the optimizers, in one memory layout.

    On a GPU, forward passes run under autocast to bfloat16. `compiles` compiles every pass but the one on reals: its R1
    needs second derivatives, which torch.compile lacks.
    """

    def __init__(self, port: str, layout: str, device: str, compiles: bool) -> None:
        sys.path.insert(0, port)
        import model  # The port's.

        self.layout, self.device = LAYOUTS[layout], device
        self.generator = self._placed(model.StyledGenerator(LATENT_SIZE))
        self.discriminator = self._placed(model.Discriminator(from_rgb_activate=True))
        self.average = self._placed(model.StyledGenerator(LATENT_SIZE)).eval()
        self.average.load_state_dict(self.generator.state_dict())
        self.g_fn, self.d_fn, self.average_fn = self.generator, self.discriminator, self.average
        if compiles:
            compiled = functools.partial(torch.compile, dynamic=False)
            self.g_fn, self.d_fn, self.average_fn = map(compiled, (self.generator, self.discriminator, self.average))
        betas = (0.0, 0.99)
        mapping = {"params": self.generator.style.parameters(), "lr": LEARNING_RATE * MAPPING_LR_MULTIPLIER}
        synthesis = {"params": self.generator.generator.parameters()}
        self.g_optimizer = torch.optim.Adam([synthesis, mapping], lr=LEARNING_RATE, betas=betas)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=LEARNING_RATE, betas=betas)
        self.generator.requires_grad_(False)

    def _placed(self, network: torch.nn.Module) -> torch.nn.Module:
        return network.to(self.device, memory_format=self.layout)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda")

    def training(self, resolution: int, batch: int) -> Callable[[], None]:
        """Returns a function that takes one step on random images of `resolution` px that are on the device."""
        grown = int(math.log2(resolution)) - 2
        images = torch.rand(batch, 3, resolution, resolution, device=self.device) * 2 - 1
        images = images.to(memory_format=self.layout)

        def step() -> None:
            self._d_step(images.clone().requires_grad_(), grown)
            self._g_step(batch, grown)
            self._wait()

        return step

    def _latents(self, batch: int) -> list[torch.Tensor]:
        return list(torch.randn(2, batch, LATENT_SIZE, device=self.device))

    def _d_step(self, reals: torch.Tensor, grown: int) -> None:
        self.discriminator.zero_grad()
        with self._autocast():
            scores = self.discriminator(reals, step=grown, alpha=ALPHA)
            loss = functional.softplus(-scores).mean()
        loss.backward(retain_graph=True)
        (gradients,) = torch.autograd.grad(scores.sum(), reals, create_graph=True)
        penalty = gradients.flatten(1).norm(2, dim=1).square().mean()
        (R1_GAMMA / 2 * penalty).backward()
        with self._autocast():
            fakes = self.g_fn(self._latents(reals.shape[0]), step=grown, alpha=ALPHA)
            loss = functional.softplus(self.d_fn(fakes, step=grown, alpha=ALPHA)).mean()
        loss.backward()
        self.d_optimizer.step()

    def _g_step(self, batch: int, grown: int) -> None:
        self.generator.zero_grad()
        self.generator.requires_grad_(True)
        self.discriminator.requires_grad_(False)
        with self._autocast():
            fakes = self.g_fn(self._latents(batch), step=grown, alpha=ALPHA)
            loss = functional.softplus(-self.d_fn(fakes, step=grown, alpha=ALPHA)).mean()
        loss.backward()
        self.g_optimizer.step()
        with torch.no_grad():
            for mean, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mean.mul_(EMA_DECAY).add_(new, alpha=1 - EMA_DECAY)
        self.generator.requires_grad_(False)
        self.discriminator.requires_grad_(True)

    def sampling(self, resolution: int, batch: int) -> Callable[[], None]:
        """Returns a function that makes `batch` uint8 images of `resolution` px with the averaged generator."""
        grown = int(math.log2(resolution)) - 2

        @torch.inference_mode()
        def sample() -> None:
            with self._autocast():
                images = self.average_fn(torch.randn(batch, LATENT_SIZE, device=self.device), step=grown, alpha=ALPHA)
            (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)
            self._wait()

        return sample

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


class Side:
    """One side of the comparison: a description, and functions without arguments to time."""

    def __init__(self, port: str, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        torch.backends.cudnn.benchmark = True
        self._port, self._device = port, "cuda" if torch.cuda.is_available() else "cpu"
        self._case: tuple[str, int, int] | None = None

    def about(self) -> dict[str, str]:
        """Returns the device and the version."""
        precision = "autocast to bfloat16" if self._device == "cuda" else "float32"
        return {"device": self._device, "version": f"torch {torch.__version__}, {precision}"}

    def prepared(self, program: str, resolution: int, batch: int, variant: str) -> tuple[Callable[[], None], int, str]:
        """Returns the warmed-up function to time, the number of batches in a call, and a remark on how it was made.

        Args:
            program: "train" or "sample".
            resolution: px.
            batch: images.
            variant: memory layout, one of LAYOUTS.
        """
        if self._case != (program, resolution, batch):
            # Else torch would compile for variable sizes and, after a few more sizes, not at all.
            torch.compiler.reset()
            self._case = program, resolution, batch
        if self._device == "cpu":
            return self._warm(program, resolution, batch, variant, compiles=False), 1, ""
        try:
            call = self._warm(program, resolution, batch, variant, compiles=True)
            return call, 1, "torch.compile, but for the pass with R1" if program == "train" else "torch.compile"
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # The errors of torch.compile have no common class.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            call = self._warm(program, resolution, batch, variant, compiles=False)
            return call, 1, f"without torch.compile: {reason[0]}"

    def _warm(self, program: str, resolution: int, batch: int, variant: str, compiles: bool) -> Callable[[], None]:
        networks = Networks(self._port, variant, self._device, compiles)
        call = (networks.training if program == "train" else networks.sampling)(resolution, batch)
        for _ in range(2):
            call()
        return call
