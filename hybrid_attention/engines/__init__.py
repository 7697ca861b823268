"""Training and inference with MONAI's engines: loaders, handlers, checkpoints, inferers, records of training runs."""

from hybrid_attention.engines.bundles import default_images, find_bundle_root, run_folder
from hybrid_attention.engines.checkpoint import Checkpoint
from hybrid_attention.engines.command_line import check_overrides
from hybrid_attention.engines.distillation import DistillationLoss, PrepareDistillation
from hybrid_attention.engines.inferers import FlipAverage, PrecisionInferer, choose_precision, to_memory_format
from hybrid_attention.engines.loaders import (
    AugmentBatch,
    join_processes,
    place_network,
    prepare_training,
    training_loader,
    validation_loader,
)
from hybrid_attention.engines.multi_task import (
    UnpackMultiTaskd,
    class_accuracy,
    class_pair,
    mean_dice,
    multi_task_metrics,
    multi_task_pair,
    multi_task_postprocessing,
    prepare_multi_task_batch,
    validation_loss,
)
from hybrid_attention.engines.run_record import trained_setting, warn_of_other_settings
from hybrid_attention.engines.trained_model import Prediction, TrainedRun, trained_network
from hybrid_attention.engines.trained_weights import (
    bundle_weights,
    find_weights,
    load_initial_weights,
    load_weights,
    save_released_weights,
    save_weights,
)
from hybrid_attention.engines.training_handlers import (
    BatchNormStatistics,
    EarlyStopping,
    EpochSeed,
    History,
    run_handlers,
)

__all__ = [
    "AugmentBatch",
    "BatchNormStatistics",
    "Checkpoint",
    "DistillationLoss",
    "EarlyStopping",
    "EpochSeed",
    "FlipAverage",
    "History",
    "PrecisionInferer",
    "Prediction",
    "PrepareDistillation",
    "TrainedRun",
    "UnpackMultiTaskd",
    "bundle_weights",
    "check_overrides",
    "choose_precision",
    "class_accuracy",
    "class_pair",
    "default_images",
    "find_bundle_root",
    "find_weights",
    "join_processes",
    "load_initial_weights",
    "load_weights",
    "mean_dice",
    "multi_task_metrics",
    "multi_task_pair",
    "multi_task_postprocessing",
    "place_network",
    "prepare_multi_task_batch",
    "prepare_training",
    "run_folder",
    "run_handlers",
    "save_released_weights",
    "save_weights",
    "to_memory_format",
    "trained_network",
    "trained_setting",
    "training_loader",
    "validation_loader",
    "validation_loss",
    "warn_of_other_settings",
]
