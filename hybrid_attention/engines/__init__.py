"""Training and inference with MONAI's engines: loaders, handlers, checkpoints, inferers, records of trainings."""

from hybrid_attention.data.files import prepare_output_folder
from hybrid_attention.engines.bundles import check_overrides, default_images, find_bundle_root, run_folder
from hybrid_attention.engines.checkpoint import Checkpoint
from hybrid_attention.engines.distillation import DistillationLoss, PrepareDistillation
from hybrid_attention.engines.handlers import (
    BatchNormStatistics,
    EarlyStopping,
    EpochSeed,
    History,
    Progress,
    TensorBoardLog,
    run_handlers,
)
from hybrid_attention.engines.inference import FlipAverage, PrecisionInferer, choose_precision, to_memory_format
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
from hybrid_attention.engines.predictions import SavePredictions
from hybrid_attention.engines.run_record import effective_recipe, trained_setting, warn_of_other_settings
from hybrid_attention.engines.trained_model import Prediction, TrainedRun, trained_network
from hybrid_attention.engines.weight_files import (
    bundle_weights,
    find_weights,
    load_initial_weights,
    load_weights,
    save_released_weights,
    save_weights,
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
    "Progress",
    "SavePredictions",
    "TensorBoardLog",
    "TrainedRun",
    "UnpackMultiTaskd",
    "bundle_weights",
    "check_overrides",
    "choose_precision",
    "class_accuracy",
    "class_pair",
    "default_images",
    "effective_recipe",
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
    "prepare_output_folder",
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
