"""Training and inference with MONAI's engines: loaders, handlers, checkpoints, inferers, records of training runs."""

from hybrid_attention.engines.bundles import default_images, find_bundle_root, run_folder, trained_network
from hybrid_attention.engines.checkpoint import Checkpoint
from hybrid_attention.engines.command_line import check_overrides
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
    DistillationLoss,
    PrepareDistillation,
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
from hybrid_attention.engines.trained_model import Prediction, TrainedModel
from hybrid_attention.engines.training_handlers import (
    BatchNormStatistics,
    EarlyStopping,
    EpochSeed,
    History,
    run_handlers,
)
from hybrid_attention.engines.training_record import trained_setting, warn_of_other_settings
from hybrid_attention.engines.weights import (
    bundle_weights,
    find_weights,
    load_initial_weights,
    load_weights,
    save_released_weights,
    save_weights,
)
