"""Networks that nobody here wrote: how each is built, without a download, and what it takes.

The packages stand in an environment of the benchmark's own; where one asks at import for
torchvision or torchaudio, which it does not need to build a network, it is given a stand-in.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Foreign:
    """One network: its package, how it is built, and an example of what it takes.

    The road is walked on small ones; `published` builds it as its package has it, with an example
    of the size it is made for.
    """

    package: str
    build: Callable[[], nn.Module]
    example: Callable[[], Any]
    published: tuple[Callable[[], nn.Module], Callable[[], Any]] | None = None


def stand_ins() -> None:
    """Modules under the names of packages that are not here, of which any attribute is a class.

    The wheel of torchvision lacks its compiled operators beside a CPU build of torch, and cannot be
    imported unless two of them are declared.
    """
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor"
            )
    for name in ("torchvision", "torchaudio"):
        try:
            importlib.import_module(name)
        except ImportError:
            sys.meta_path.append(_StandIns(name))


class _StandIns:
    """Finds the modules of one absent package."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, *_: Any) -> Any:
        if name == self._package or name.startswith(f"{self._package}."):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        return _Anything(spec.name)

    def exec_module(self, module: Any) -> None:
        module.__version__ = "0.0"


class _Anything(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {"__init__": lambda *_, **__: None})
        setattr(self, name, made)
        return made


def image(size: int = 64, channels: int = 3) -> Callable[[], Tensor]:
    return lambda: torch.randn(1, channels, size, size)


def named(**shapes: tuple[int, ...]) -> Callable[[], dict[str, Tensor]]:
    return lambda: {name: torch.randn(shape) for name, shape in shapes.items()}


PIXELS = named(pixel_values=(1, 3, 64, 64))
FULL = named(pixel_values=(1, 3, 224, 224))
SECOND = named(input_values=(1, 16000))


def wave(n: int, *front: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(*front, n)


def hugging_face(
    model: str,
    config: str,
    takes: Callable[[], Any],
    full: Callable[[], Any] = FULL,
    **settings: Any,
) -> Foreign:
    """A network of transformers by the names of its class and of its configuration's.

    `full` is what it takes in its configuration as published.
    """

    def build(**given: Any) -> nn.Module:
        package = importlib.import_module("transformers")
        made: nn.Module = getattr(package, model)(getattr(package, config)(**given))
        return made

    return Foreign("transformers", partial(build, **settings), takes, (build, full))


def called(package: str, path: str, takes: Callable[[], Any], *args: Any, **kw: Any) -> Foreign:
    """What `path` ("module:name") makes of the arguments."""

    def build() -> nn.Module:
        module, _, name = path.partition(":")
        made: nn.Module = getattr(importlib.import_module(module), name)(*args, **kw)
        return made

    return Foreign(package, build, takes)


def _whisper(**settings: Any) -> nn.Module:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    return WhisperEncoder(WhisperConfig(**settings))


def _yolo(name: str) -> nn.Module:
    from ultralytics.nn.tasks import DetectionModel, SegmentationModel

    kind = SegmentationModel if name.endswith("-seg.yaml") else DetectionModel
    made: nn.Module = kind(name, verbose=False)
    return made


def _detr() -> nn.Module:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 64, 128],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    return DetrForObjectDetection(
        DetrConfig(
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone=None,
            backbone_config=backbone,
            d_model=64,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            num_queries=10,
        )
    )


_SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
_SPEECH = _SMALL | {
    "conv_dim": (32, 32),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
_STAGES = {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1]}


def _ids(length: int = 16) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(0, 100, (1, length))}


def _many_ids() -> dict[str, Tensor]:
    return _ids(128)


def yolo(name: str) -> Foreign:
    """A detector of ultralytics, by the name of its file; it is made for images of 640."""
    build = partial(_yolo, f"{name}.yaml")
    return Foreign("ultralytics", build, image(), (build, image(640)))


FOREIGN: Mapping[str, Foreign] = {
    # transformers
    "hf_ast": hugging_face(
        "ASTForAudioClassification",
        "ASTConfig",
        named(input_values=(1, 128, 64)),
        named(input_values=(1, 1024, 128)),
        **_SMALL,
        max_length=128,
        num_mel_bins=64,
    ),
    "hf_whisper_encoder": Foreign(
        "transformers",
        partial(
            _whisper,
            d_model=64,
            encoder_layers=2,
            encoder_attention_heads=4,
            encoder_ffn_dim=128,
            max_source_positions=50,
        ),
        named(input_features=(1, 80, 100)),
        (_whisper, named(input_features=(1, 80, 3000))),
    ),
    "hf_wav2vec2": hugging_face(
        "Wav2Vec2Model", "Wav2Vec2Config", named(input_values=(1, 2000)), SECOND, **_SPEECH
    ),
    "hf_hubert": hugging_face(
        "HubertModel", "HubertConfig", named(input_values=(1, 2000)), SECOND, **_SPEECH
    ),
    "hf_wavlm": hugging_face(
        "WavLMModel", "WavLMConfig", named(input_values=(1, 2000)), SECOND, **_SPEECH
    ),
    "hf_vit": hugging_face(
        "ViTForImageClassification",
        "ViTConfig",
        PIXELS,
        **_SMALL,
        image_size=64,
    ),
    "hf_deit": hugging_face(
        "DeiTForImageClassification",
        "DeiTConfig",
        PIXELS,
        **_SMALL,
        image_size=64,
    ),
    "hf_swin": hugging_face(
        "SwinForImageClassification",
        "SwinConfig",
        PIXELS,
        image_size=64,
        embed_dim=24,
        depths=[1, 1],
        num_heads=[2, 4],
        window_size=4,
    ),
    "hf_swinv2": hugging_face(
        "Swinv2ForImageClassification",
        "Swinv2Config",
        PIXELS,
        image_size=64,
        embed_dim=24,
        depths=[1, 1],
        num_heads=[2, 4],
        window_size=4,
    ),
    "hf_segformer": hugging_face(
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        PIXELS,
        named(pixel_values=(1, 3, 512, 512)),
        **_STAGES,
        num_attention_heads=[1, 2, 4, 8],
        decoder_hidden_size=32,
    ),
    "hf_convnextv2": hugging_face(
        "ConvNextV2ForImageClassification",
        "ConvNextV2Config",
        PIXELS,
        **_STAGES,
    ),
    "hf_convnext": hugging_face(
        "ConvNextForImageClassification",
        "ConvNextConfig",
        PIXELS,
        **_STAGES,
    ),
    "hf_yolos": hugging_face(
        "YolosForObjectDetection",
        "YolosConfig",
        PIXELS,
        named(pixel_values=(1, 3, 512, 864)),
        **_SMALL,
        image_size=[64, 64],
        num_detection_tokens=10,
    ),
    "hf_detr": Foreign("transformers", _detr, PIXELS),
    "hf_resnet": hugging_face(
        "ResNetForImageClassification",
        "ResNetConfig",
        PIXELS,
        **_STAGES,
        embedding_size=16,
        layer_type="basic",
    ),
    "hf_regnet": hugging_face(
        "RegNetForImageClassification",
        "RegNetConfig",
        PIXELS,
        **_STAGES,
        embedding_size=16,
        groups_width=8,
    ),
    "hf_mobilenetv2": hugging_face(
        "MobileNetV2ForImageClassification",
        "MobileNetV2Config",
        PIXELS,
        depth_multiplier=0.35,
    ),
    "hf_mobilevit": hugging_face(
        "MobileViTForImageClassification",
        "MobileViTConfig",
        PIXELS,
        named(pixel_values=(1, 3, 256, 256)),
        image_size=64,
        hidden_sizes=[32, 48, 64],
        neck_hidden_sizes=[8, 16, 24, 32, 48, 64, 128],
    ),
    "hf_dpt": hugging_face(
        "DPTForDepthEstimation",
        "DPTConfig",
        PIXELS,
        named(pixel_values=(1, 3, 384, 384)),
        **_SMALL | {"num_hidden_layers": 4},
        image_size=64,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 32, 64, 64],
        fusion_hidden_size=32,
    ),
    "hf_poolformer": hugging_face(
        "PoolFormerForImageClassification",
        "PoolFormerConfig",
        PIXELS,
        **_STAGES,
    ),
    "hf_levit": hugging_face(
        "LevitForImageClassification",
        "LevitConfig",
        PIXELS,
        image_size=64,
        hidden_sizes=[32, 48, 64],
        num_attention_heads=[2, 3, 4],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
    ),
    "hf_bit": hugging_face(
        "BitForImageClassification",
        "BitConfig",
        PIXELS,
        hidden_sizes=[64, 64, 128, 256],
        depths=[1, 1, 1, 1],
        embedding_size=32,
        num_groups=8,
    ),
    "hf_bert": hugging_face("BertModel", "BertConfig", _ids, _many_ids, **_SMALL, vocab_size=100),
    "hf_distilbert": hugging_face(
        "DistilBertModel",
        "DistilBertConfig",
        _ids,
        _many_ids,
        dim=64,
        n_layers=2,
        n_heads=4,
        hidden_dim=128,
        vocab_size=100,
    ),
    "hf_hifigan": hugging_face(
        "SpeechT5HifiGan",
        "SpeechT5HifiGanConfig",
        named(spectrogram=(20, 80)),
        named(spectrogram=(100, 80)),
        upsample_initial_channel=64,
    ),
    # ultralytics
    "yolov8n": yolo("yolov8n"),
    "yolov8n_seg": yolo("yolov8n-seg"),
    "yolov10n": yolo("yolov10n"),
    "yolo11n": yolo("yolo11n"),
    # segmentation_models_pytorch
    **{
        f"smp_{name.lower()}": called(
            "segmentation-models-pytorch",
            f"segmentation_models_pytorch:{name}",
            image(),
            encoder_name=encoder,
            encoder_weights=None,
        )
        for name, encoder in {
            "Unet": "resnet18",
            "UnetPlusPlus": "resnet18",
            "FPN": "resnet18",
            "Linknet": "resnet18",
            "PSPNet": "resnet18",
            "DeepLabV3Plus": "resnet18",
            "MAnet": "resnet18",
        }.items()
    },
    # MONAI
    "monai_unet": called(
        "monai",
        "monai.networks.nets:UNet",
        wave(16, 1, 1, 16, 16),
        spatial_dims=3,
        in_channels=1,
        out_channels=2,
        channels=(8, 16, 32),
        strides=(2, 2),
        num_res_units=1,
    ),
    "monai_segresnet": called(
        "monai", "monai.networks.nets:SegResNet", wave(16, 1, 1, 16, 16), init_filters=8
    ),
    "monai_densenet121": called(
        "monai",
        "monai.networks.nets:DenseNet121",
        image(channels=1),
        spatial_dims=2,
        in_channels=1,
        out_channels=2,
    ),
    "monai_vnet": called("monai", "monai.networks.nets:VNet", wave(32, 1, 1, 32, 32)),
    "monai_attentionunet": called(
        "monai",
        "monai.networks.nets:AttentionUnet",
        image(channels=1),
        spatial_dims=2,
        in_channels=1,
        out_channels=2,
        channels=(8, 16, 32),
        strides=(2, 2),
    ),
    "monai_basicunet": called(
        "monai", "monai.networks.nets:BasicUNet", image(channels=1), spatial_dims=2
    ),
    "monai_unetr": called(
        "monai",
        "monai.networks.nets:UNETR",
        image(channels=1),
        in_channels=1,
        out_channels=2,
        img_size=64,
        feature_size=8,
        hidden_size=64,
        mlp_dim=128,
        num_heads=4,
        spatial_dims=2,
    ),
    # speechbrain
    "ecapa_tdnn": called(
        "speechbrain",
        "speechbrain.lobes.models.ECAPA_TDNN:ECAPA_TDNN",
        wave(40, 1, 60),
        40,
        channels=[64, 64, 64, 64, 96],
        lin_neurons=32,
        attention_channels=16,
    ),
    "xvector": called(
        "speechbrain",
        "speechbrain.lobes.models.Xvector:Xvector",
        wave(40, 1, 60),
        in_channels=40,
        tdnn_channels=[64, 64, 64, 64, 96],
        lin_neurons=32,
    ),
    "crdnn": called(
        "speechbrain",
        "speechbrain.lobes.models.CRDNN:CRDNN",
        wave(40, 1, 60),
        input_shape=[1, 60, 40],
        cnn_channels=(16, 32),
        rnn_neurons=32,
        rnn_layers=2,
        dnn_neurons=32,
    ),
    # asteroid
    "conv_tasnet": called(
        "asteroid",
        "asteroid.models:ConvTasNet",
        wave(2000, 1, 1),
        2,
        n_filters=64,
        bn_chan=32,
        hid_chan=64,
        skip_chan=32,
        n_blocks=2,
        n_repeats=1,
    ),
    "dprnn_tasnet": called(
        "asteroid",
        "asteroid.models:DPRNNTasNet",
        wave(2000, 1, 1),
        2,
        bn_chan=32,
        hid_size=16,
        n_repeats=1,
    ),
    "dcunet": called(
        "asteroid",
        "asteroid.models:DCUNet",
        wave(4000, 1, 1),
        "DCUNet-10",
        fix_length_mode="pad",
    ),
    "sudormrf": called(
        "asteroid",
        "asteroid.models:SuDORMRFNet",
        wave(2000, 1, 1),
        2,
        bn_chan=32,
        num_blocks=2,
        upsampling_depth=3,
    ),
    # others
    "diffusers_unet2d": called(
        "diffusers",
        "diffusers:UNet2DModel",
        lambda: {"sample": torch.randn(1, 3, 16, 16), "timestep": torch.tensor([3])},
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    ),
    "diffusers_vae": called(
        "diffusers",
        "diffusers:AutoencoderKL",
        image(32),
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
    ),
    "pytorchvideo_x3d": called(
        "pytorchvideo",
        "pytorchvideo.models.x3d:create_x3d",
        wave(64, 1, 3, 4, 64),
        input_clip_length=4,
        input_crop_size=64,
        model_num_class=10,
    ),
    "pytorchvideo_resnet": called(
        "pytorchvideo",
        "pytorchvideo.models.resnet:create_resnet",
        wave(64, 1, 3, 4, 64),
        model_depth=50,
        model_num_class=10,
        head_pool_kernel_size=(4, 2, 2),
    ),
    "torchcrepe": called("torchcrepe", "torchcrepe:Crepe", wave(1024, 2), "tiny"),
    "demucs": called(
        "demucs",
        "demucs.demucs:Demucs",
        wave(8000, 1, 2),
        ["a", "b"],
        channels=16,
        depth=3,
        lstm_layers=1,
    ),
    "hdemucs": called(
        "demucs",
        "demucs.hdemucs:HDemucs",
        wave(44100, 1, 2),
        ["a", "b"],
        channels=8,
    ),
    "openunmix": called(
        "openunmix", "openunmix.model:OpenUnmix", wave(20, 1, 2, 257), nb_bins=257, hidden_size=32
    ),
    # timm, what the zoo leaves out or re-parameterises
    **{
        f"timm_{name}": called("timm", "timm:create_model", image(size), name)
        for name, size in {
            "vit_tiny_patch16_224": 224,
            "swin_tiny_patch4_window7_224": 224,
            "mobileone_s0": 64,
            "fastvit_t8": 64,
            "repvgg_a0": 64,
            "mixer_s32_224": 224,
            "xcit_nano_12_p16_224": 224,
        }.items()
    },
}
"""Name -> network."""
