"""The runs of each table, by folder under docs/results: their order and titles. Differences are to the first run."""

ROWS = {
    "busi_fold0_128": {"unet": "U-Net", "han": "BL + ConvBlock + SFEB + TAM (HAN)"},
    "explainable_fold0_128": {
        "model_1": "1: CBAM",
        "model_3": "3: Non-Local",
        "model_7": "7: no attention",
        "model_5": "5: no attention, frozen, Dice loss",
    },
    "improved_fold0_128": {
        "han_strong_augmentation": "HAN, strong augmentation",
        "han": "HAN, improved",
        "han_mixed_phantoms": "HAN, improved, from phantoms of mixed echogenicity",
    },
    "improved_folds_128": {"han": "HAN", "flexible_unet": "FlexibleUNet, EfficientNet-B0"},
    # named as in network_costs.json
    "peers_fold0_128": {
        "han": "HAN",
        "han_baseline": "HAN's baseline (BL)",
        "han_conv_block": "BL + ConvBlock",
        "han_conv_block_sfeb": "BL + ConvBlock + SFEB",
        "residual_unet": "residual U-Net",
        "flexible_unet": "FlexibleUNet, EfficientNet-B0",
        "segresnet": "SegResNet",
        "basic_unet": "U-Net with instance norm",
        "swin_unetr": "Swin UNETR",
        "triple_encoder_cbam": "triple encoder, model 1 (CBAM)",
        "triple_encoder_non_local": "triple encoder, model 3 (Non-Local)",
        "triple_encoder": "triple encoder, model 7 (no attention)",
        "attention_unet": "Attention U-Net",
        "nnunet": "nnU-Net, 6 stages",
        "nnunet_residual": "nnU-Net ResEnc, 6 stages",
        "deep_attention_unet": "deep Attention U-Net, 3 channels",
        "mtl_oca": "MTL-OCA, masks alone, 3 channels",
        "unet_plus_plus": "U-Net++",
        "unet_plus_plus_deep": "U-Net++, deep supervision",
        "aau_net": "AAU-Net",
        "bgra_gsa": "BGRA-GSA, EfficientNet-B7",
        "bgra_gsa_b0": "BGRA-GSA, EfficientNet-B0",
        "swin_unet": "Swin-Unet",
        "plain_unet": "U-Net of HAN's paper",
    },
    "mtl_oca_folds_128": {
        "mtl_oca": "MTL-OCA",
        "without_oca": "without OCA",
        "classify_on_oca": "classes from the features after OCA",
        "without_edges": "without the edge channel",
        "mt_dunet": "MT-DUNet",
        "multi_task_unet": "U-Net with a class head",
        "unet_masks": "U-Net, masks alone",
    },
    "normal_images_fold0_128": {
        "hybrid_multi_task": "HAN with a class head, 32 epochs",
        "hybrid_multi_task_from_masks": "the same from HAN trained on BUSI, 12 epochs",
        "han_for_masks": "HAN trained on BUSI, for masks alone",
    },
}
# what may differ between the rows of an experiment: the recipes, as their titles say, or only the text of the configs
# (fold 0 of HAN in improved_folds_128 is from an earlier commit, with other comments and without a check of the data)
UNCOMPARABLE_ROWS = {
    "normal_images_fold0_128": ("provenance.config_files", "provenance.overrides.epochs"),
    "improved_folds_128": ("provenance.config_files",),
}

# ablation studies, scored on the validation fold
STUDIES = {
    "recipe_study_128": {
        "base": "FlexibleUNet-B0, `from_scratch.yaml`",
        "without_augmentation": "no augmentation",
        "batched_augmentation": "similar augmentation, in batches (kornia)",
        "elastic": "+ elastic",
        "speckle": "+ multiplicative speckle",
        "clahe": "+ CLAHE",
        "blur": "+ blur",
        "coarse_dropout": "+ coarse dropout",
        "dice_bce": "Dice + BCE instead of BCE + Jaccard",
        "dice_focal": "Dice + focal",
        "boundary_loss": "+ boundary loss (Hausdorff by distance transforms)",
        "warmup_cosine": "warm-up and cosine instead of one cycle",
        "moving_average": "moving average of the weights",
        "image_size_192": "192 x 192 pixels, scored at that size",
        "group_norm": "group norm instead of batch norm",
        "batches_of_4": "batches of 4",
        "batches_of_4_group_norm": "batches of 4, group norm",
        "from_phantoms": "pre-trained on phantoms",
        "from_mixed_phantoms": "pre-trained on phantoms, half of the solid lesions no darker than the tissue",
        "from_masked_images": "pre-trained by masked image modelling",
    },
    "architecture_study_128": {
        "base": "HAN, `from_scratch.yaml`",
        "sfeb_global": "SFEB pools globally, as the paper prints it",
        "encoder_depth_4": "full DenseNet-121",
        "deep_supervision": "deep supervision at two scales",
    },
}

# training recipes of one network
RECIPES = {
    "busi_fold0_128/han": "`from_scratch.yaml`",
    "improved_fold0_128/han_strong_augmentation": "strong augmentation",
    "improved_fold0_128/han": "`improved.yaml`: start from phantoms",
    "improved_fold0_128/han_mixed_phantoms": "the same from phantoms of mixed echogenicity",
}

# networks trained on several data sets
DATA_SET_RUNS = {
    "hybrid_lite_study_128": {
        "base": "hybrid_lite",
        "random_start": "random initialization instead of ImageNet weights",
        "busi_alone": "trained on BUSI only",
        "bus_bra_alone": "trained on BUS-BRA only",
        "tam": "+ TAM on the deepest features",
        "sfeb": "+ SFEB on the skips",
        "narrow_decoder": "decoder of 64, 32, 16, 16 channels",
        "wide_decoder": "decoder of 256, 128, 64, 32 channels",
        "lite1": "EfficientNet-Lite1",
        "lite2": "EfficientNet-Lite2",
        "masks_alone": "no class head",
        "lesions_alone": "no normal images in training",
        "class_weight_1": "class loss weight 1 instead of 0.5",
        "mild_augmentation": "geometric augmentation only",
        "jaccard_weight_2": "Jaccard loss weight 2 instead of 1",
        "size_192": "192 x 192 pixels",
        "size_256": "256 x 256 pixels",
    },
    "hybrid_lite_folds_128": {
        "hybrid_lite": "hybrid_lite",
        "flexible_unet_b0": "FlexibleUNet, EfficientNet-B0",
        "nnunet": "nnU-Net, 6 stages",
    },
    "han_from_bus_bra_128": {
        "pretrained": "HAN trained on BUS-BRA",
        "fine_tuned": "the same, fine-tuned on BUSI: the released weights",
    },
    "hybrid_lite_student_128": {
        "alone": "decoder of 64, 32, 16, 8 channels",
        "taught": "the same, taught by three networks",
    },
    "hybrid_lite": {
        "hybrid_lite": "`train.yaml`, the released weights",
        "with_validation_fold": "six more epochs, including the validation fold",
        "more_bus_bra": "also trained on BUS-BRA's official fold 2",
    },
}

# runs on leak-free and on random folds, and the recipe that both have
LEAKS = [
    ("leak_free", "random", "augmentation"),
    ("leak_free", "random_seed_1", "augmentation, other random folds"),
    ("leak_free_without_augmentation", "random_without_augmentation", "no augmentation"),
    ("leak_free_without_augmentation", "random_seed_1_without_augmentation", "no augmentation, other random folds"),
    ("han_leak_free", "han_random", "HAN, no augmentation"),
]

# evaluation of each bundle's released weights on all images of the test fold
RELEASED = {
    "hybrid_lite": "hybrid_lite/released_on_busi",
    "hybrid": "han_from_bus_bra_128/released_on_busi",
    "mtl_oca": "normal_images_fold0_128/hybrid_multi_task_from_masks",
}
