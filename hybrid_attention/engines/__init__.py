"""What Ignite and MONAI lack for training runs that can be killed, resumed and believed."""

from hybrid_attention.data.files import prepare_output_folder
from hybrid_attention.engines.augment_batch import AugmentBatch
from hybrid_attention.engines.batch_norm_statistics import BatchNormStatistics
from hybrid_attention.engines.checkpoint import Checkpoint
from hybrid_attention.engines.early_stopping import EarlyStopping
from hybrid_attention.engines.epoch_seed import EpochSeed
from hybrid_attention.engines.flip_average import FlipAverage
from hybrid_attention.engines.history import History
from hybrid_attention.engines.inferer import PrecisionInferer, choose_precision, to_memory_format
from hybrid_attention.engines.invocation import find_bundle_root, run_folder
from hybrid_attention.engines.multi_task import UnpackMultiTaskd, class_pair, multi_task_pair, prepare_multi_task_batch
from hybrid_attention.engines.overrides import begin_run
from hybrid_attention.engines.predictions import SavePredictions
from hybrid_attention.engines.progress import Progress
from hybrid_attention.engines.tensorboard import TensorBoardLog
from hybrid_attention.engines.trained_network import trained_network
from hybrid_attention.engines.trained_run import Prediction, TrainedRun
from hybrid_attention.engines.training_record import effective_recipe, trained_setting, warn_of_other_settings
from hybrid_attention.engines.weight_files import (
    bundle_weights,
    find_weights,
    load_weights,
    save_released_weights,
    save_weights,
    start_from,
)

__all__ = [
    "AugmentBatch",
    "BatchNormStatistics",
    "Checkpoint",
    "EarlyStopping",
    "EpochSeed",
    "FlipAverage",
    "History",
    "PrecisionInferer",
    "Prediction",
    "Progress",
    "SavePredictions",
    "TensorBoardLog",
    "TrainedRun",
    "UnpackMultiTaskd",
    "begin_run",
    "bundle_weights",
    "choose_precision",
    "class_pair",
    "effective_recipe",
    "find_bundle_root",
    "find_weights",
    "load_weights",
    "multi_task_pair",
    "prepare_multi_task_batch",
    "prepare_output_folder",
    "run_folder",
    "save_released_weights",
    "save_weights",
    "start_from",
    "to_memory_format",
    "trained_network",
    "trained_setting",
    "warn_of_other_settings",
]
