"""Packaging. Requirements are listed only in requirements.txt and, for the extras, in requirements-*.txt."""

import pathlib

import setuptools

ROOT = pathlib.Path(__file__).parent


def read_requirements(name: str) -> list[str]:
    """Returns the requirements in a file of one per line, without its comments."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


EXTRAS = {extra: read_requirements(f"requirements-{extra}.txt") for extra in ("hub", "notebooks", "onnx")}

setuptools.setup(
    name="stylegan_jax",
    version="0.1.0",
    description="StyleGAN (Karras et al. 2019) in JAX and Flax",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # configs/ is at the top of the repository, where users look for it, and within the package once that is installed.
    packages=[*setuptools.find_packages(include=["stylegan_jax", "stylegan_jax.*"]), "stylegan_jax.configs"],
    package_dir={"stylegan_jax": "stylegan_jax", "stylegan_jax.configs": "configs"},
    package_data={
        "stylegan_jax": ["metrics/*.npz", "metrics/*.safetensors", "images/explorer/*.html", "images/explorer/*.js"]
    },
    install_requires=read_requirements("requirements.txt"),
    extras_require=EXTRAS | {"dev": [*read_requirements("requirements-dev.txt"), *sum(EXTRAS.values(), [])]},
)
