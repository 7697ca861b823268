"""The evaluation of a trained network: a row a case, a summary, overlays."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from PIL import Image

from hybrid_attention.data.files import atomic_path, prepare_output_folder, write_csv, write_json
from hybrid_attention.data.identity import data_digest, file_digest
from hybrid_attention.engines.provenance import provenance
from hybrid_attention.engines.training_record import check_against_training
from hybrid_attention.evaluation.metrics import confusion_counts, overlap_scores
from hybrid_attention.evaluation.summary import summarize, summary_table
from hybrid_attention.transforms import Overlay

logger = logging.getLogger(__name__)


class CaseScores:
    """Score every case of an evaluation run and write `per_case.csv`, `summary.json`, `summary.md` and overlays.

    Scores are computed at the size the network sees, as the papers do. The summary names its conventions and carries
    the record of the training, the configuration, the commit and the hashes of data and weights. Weights are not scored
    on images that they were trained on.

    Args:
        folder: where the files go.
        cases: what is evaluated, with `case_id`, `class`, `group`, `image`, `label` and `synthetic`.
        weights: the file of the network's weights, for the record.
        split: how the cases were chosen, in words.
        settings: settings that must be those of the training, plain values.
        overlays: write a picture a case into `overlays/`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        cases: Sequence[Mapping[str, Any]],
        weights: str | os.PathLike[str],
        split: str = "",
        settings: Mapping[str, Any] | None = None,
        overlays: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.cases = {case["case_id"]: case for case in cases}
        self.weights = weights
        self.split = split
        self.settings = dict(settings or {})
        self.overlay = Overlay() if overlays else None
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.training: dict[str, Any] | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator.

        Args:
            engine: the evaluator.
        """
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.rows = []
        self.training = check_against_training(self.weights, list(self.cases.values()), self.settings)
        prepare_output_folder(self.folder)

    def _score(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            case = self.cases[item["case_id"]]
            prediction, target = output[CommonKeys.PRED].cpu(), output[CommonKeys.LABEL].cpu()
            counts = confusion_counts(prediction, target)
            self.rows.append(
                {
                    "case_id": case["case_id"],
                    "class": case["class"],
                    "group": case["group"],
                    **{name: round(value, 6) for name, value in overlap_scores(counts).items()},
                    **counts,
                }
            )
            if self.overlay is not None:
                picture = self.overlay(output[CommonKeys.IMAGE][0].cpu(), prediction[0], target[0])
                name = Path(case["case_id"]).with_suffix(".png").as_posix().replace("/", "_")
                with atomic_path(self.folder / "overlays" / name) as temporary:
                    Image.fromarray(picture).save(temporary)

    def _finish(self, engine: Engine) -> None:
        synthetic = any(case.get("synthetic", False) for case in self.cases.values())
        self.summary = {
            "synthetic_data": synthetic,
            "split": self.split,
            "settings": self.settings,
            **summarize(self.rows),
            "data_sha256": data_digest(list(self.cases.values())),
            "weights_sha256": file_digest([self.weights]),
            "training": self.training,
            "provenance": provenance(),
        }
        title = "SYNTHETIC DATA (computed phantoms): these numbers say nothing on patients\n\n" if synthetic else ""
        table = f"{title}{self.split}\n\n{summary_table(self.summary)}\n"
        write_csv(self.folder / "per_case.csv", self.rows, list(self.rows[0]))
        write_json(self.folder / "summary.json", self.summary)
        with atomic_path(self.folder / "summary.md") as temporary:
            temporary.write_text(table, encoding="utf-8")
        logger.info("%s\nper-case table, summary and overlays: %s", table, self.folder)
