"""The commands that a run consists of, as someone would type them."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hybrid_attention.engines.provenance import without_folder
from hybrid_attention.experiments.plan import Run
from hybrid_attention.experiments.recipe import NOTHING

# text that both MONAI and this package read as such without quotes
_PLAIN = re.compile(r"[A-Za-z_/][\w./-]*", re.ASCII)
# a word with apostrophes in which the shell finds nothing to replace
_DOUBLE_QUOTED = re.compile(r"""[^"$`\\!]*'[^"$`\\!]*""")


def bundle_command(
    run: Run, step: str, dataset_dir: Sequence[str | os.PathLike[str]], output_dir: str | os.PathLike[str]
) -> list[str]:
    """Return the arguments of `python` for one step of a run; the working directory is the checkout.

    Args:
        run: the run.
        step: "training", or the part of the split to evaluate.
        dataset_dir: folders of the images.
        output_dir: folder of the run.
    """
    folder = f"bundles/{run.bundle}/configs"
    configs = [f"{folder}/train.yaml", *run.configs]
    images = [os.fspath(folder) for folder in dataset_dir]
    places = {"dataset_dir": images if len(images) > 1 else images[0], "output_dir": os.fspath(output_dir)}
    if step == "training":
        options = {"resume": True, **run.options}
    else:
        configs.append(f"{folder}/evaluate.yaml")
        kept = {key: value for key, value in run.options.items() if key not in run.recipe.left_to_evaluation}
        options = {**kept, **run.evaluation_options, "part": step}
    words = ["-m", "monai.bundle", "run", "training" if step == "training" else "evaluating"]
    words += ["--config_file", str(configs)]
    return words + _option_words({**places, "fold": run.fold, "seed": run.seed, **options})


def shown(words: list[str]) -> str:
    """Return a command as it is typed into a shell."""
    return " ".join(
        ["python", *('"' + word + '"' if _DOUBLE_QUOTED.fullmatch(word) else shlex.quote(word) for word in words)]
    )


def portable_commands(run: Run) -> list[str]:
    """Return all commands of a run for the record, with DATASET and RUN for folders of this machine."""
    run = replace(
        run,
        options=without_folder(run.options, relative=False),
        evaluation_options=without_folder(run.evaluation_options, relative=False),
    )
    return [shown(bundle_command(run, step, ["DATASET"], "RUN")) for step in run.steps]


def _option_words(options: Mapping[str, Any]) -> list[str]:
    return [word for key, value in options.items() for word in (f"--{key}", _literal(value))]


def _literal(value: Any) -> str:
    """Write a value so that `python -m monai.bundle` reads it back unchanged; plain text stays without quotes."""
    if value is None:
        return NOTHING
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        try:
            ast.literal_eval(value)  # None, True, False
        except (ValueError, SyntaxError):
            return value
    return repr(value)
