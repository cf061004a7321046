"""Modes of the command line, run in this process."""

from absl.testing import flagsaver

from stylegan_jax.command_line import of_networks, options


def run(mode: str, **given) -> None:
    """Does what a mode does with flags; raises what it raises."""
    options.absl_flags.FLAGS(["test"])
    with flagsaver.as_parsed(mode=mode, **{name: str(value) for name, value in given.items()}):
        options.check_flags(mode)
        of_networks.MODES[mode]()
