"""Which runs of an experiment stand in its table, in which order, and what the table calls them.

Differences are to the first one.
"""

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
        "plain_unet": "U-Net of HAN's paper",
    },
    "mtl_oca_folds_128": {
        "mtl_oca": "MTL-OCA",
        "without_oca": "without OCA",
        "classify_on_oca": "classes from the features after OCA",
        "without_edges": "without the edge channel",
        "mtl_dunet": "MTL-DUNet",
        "unet_masks": "U-Net, masks alone",
    },
    "normal_images_fold0_128": {
        "hybrid_multi_task": "HAN with a class head, 32 epochs",
        "hybrid_multi_task_from_masks": "the same from the released HAN, 12 epochs",
        "han_for_masks": "the released HAN, for masks alone",
    },
}
# what may differ between the rows of an experiment: the recipes, as their names say; or the text of the configs alone
# (fold 0 of HAN in improved_folds_128 is of an earlier commit, with other comments and without a check of the data)
UNLIKE = {
    "normal_images_fold0_128": ("provenance.config_files", "provenance.overrides.epochs"),
    "improved_folds_128": ("provenance.config_files",),
}
