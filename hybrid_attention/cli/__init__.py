"""Segment breast-ultrasound images, evaluate and compare networks; training is `python -m monai.bundle run`."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Sequence

from hybrid_attention import __version__
from hybrid_attention.cli import data, experiments, info, models

# commands and options of earlier versions
RENAMED = {
    "reliability": "calibrate",
    "--decision": "--inference_settings",
    "--uncertainty": "--outputs mask overlay uncertainty",
    "--gradcam": "--outputs mask overlay gradcam",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, by default `sys.argv[1:]`, and return the exit status.

    It is 0 for success and 1 for an error, which is printed in one line; of `experiments` 3 if some runs are left.
    """
    parser = argparse.ArgumentParser(prog="hybrid-attention", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    for group in (models, data, experiments, info):
        group.add_commands(commands)
    for stream in (sys.stdout, sys.stderr):  # replace characters that the terminal can't show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    words = [_with_underscores(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    for word in words:
        old = word.partition("=")[0]
        if old in RENAMED and (old.startswith("--") or word == words[0]):
            parser.error(f"{old} is now called {RENAMED[old]}")
    options = parser.parse_args(words)
    if getattr(options, "show_log", False):
        logging.basicConfig(format="%(message)s")
        logging.getLogger("hybrid_attention").setLevel(logging.INFO)
    try:
        return options.run(options) or 0
    except (OSError, ValueError, ImportError) as error:
        print(f"hybrid-attention: error: {error}", file=sys.stderr)
        return 1


def _with_underscores(word: str) -> str:
    """Spell options as in configs, `--groups_csv`; `--groups-csv` is accepted, too."""
    name, equals, value = word.partition("=")
    return (name.replace("-", "_").replace("__", "--", 1) if name.startswith("--") else name) + equals + value
