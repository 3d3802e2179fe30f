"""Frozen backbones as features: image transformers of transformers and timm, TorchGeo's, and SAM's own embedding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.errors import ModelError
from geolabel.predict.contract import ChipInput, FeatureMap

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MOST_PX = 1024


class _Backbone:
    """What all backbones share: the picture as a tensor, padded to whole patches, and pooling over valid cells.

    Args:
        checkpoint: Local file or folder, or a hub id.
    """

    name = ""

    def __init__(self, checkpoint: str = "") -> None:
        self._checkpoint = checkpoint
        self._model: Any = None
        self._device = "cpu"
        self._patch = 16

    @property
    def version(self) -> str:
        """Changes with the checkpoint."""
        return f"1-{Path(self._checkpoint).name or 'none'}"

    def load(self, device: str) -> None:
        """Bring the weights in.

        Raises:
            ModelError: they are missing, damaged or of another architecture.
        """
        if not self._checkpoint:
            raise ModelError(f"the features {self.name!r} need weights: set `checkpoint` to a file, folder or hub id")
        self._device = device
        try:
            self._model, self._patch = self._open(device)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"{self._checkpoint} can't be loaded for {self.name!r}: {str(error)[:250]}") from error

    def _open(self, device: str) -> tuple[Any, int]:
        raise NotImplementedError

    def _cells(self, tensor: Any) -> Any:
        """Return (c, h, w) features of a (1, bands, rows, cols) tensor."""
        raise NotImplementedError

    def _planes(self, chip: ChipInput) -> Any:
        """Return (bands, row, col) float32, as the model learned to see them."""
        rgb = chip.rgb.astype(np.float32) / 255
        return np.moveaxis((rgb - np.asarray(_MEAN, np.float32)) / np.asarray(_STD, np.float32), -1, 0)

    def features(self, chip: ChipInput) -> FeatureMap:
        """Return (h, w, k) float32, one vector per patch."""
        import torch

        if self._model is None:
            raise ModelError(f"the features {self.name!r} were not loaded; call load first")
        planes = np.ascontiguousarray(self._planes(chip), dtype=np.float32)
        with torch.inference_mode():
            tensor = torch.from_numpy(planes)[None].to(self._device)
            scale = min(1.0, _MOST_PX / max(tensor.shape[2:]))
            if scale < 1:
                tensor = torch.nn.functional.interpolate(tensor, scale_factor=scale, mode="bilinear", antialias=True)
            rows, cols = tensor.shape[2:]
            padded = [-(-n // self._patch) * self._patch for n in (rows, cols)]
            pad = (0, padded[1] - cols, 0, padded[0] - rows)
            tensor = torch.nn.functional.pad(tensor, pad, mode="replicate" if min(rows, cols) > 1 else "constant")
            cells = self._cells(tensor).float().cpu().numpy()
        stride = self._patch / scale
        used = -(-chip.height // stride), -(-chip.width // stride)
        array = np.moveaxis(cells, 0, -1)[: max(1, int(used[0])), : max(1, int(used[1]))]
        return FeatureMap(array=np.nan_to_num(np.ascontiguousarray(array)), stride_px=stride)

    def pooled(self, chip: ChipInput) -> npt.NDArray[np.float32]:
        """Return the mean over cells that hold data, (k,) float32."""
        found = self.features(chip)
        array = np.asarray(found.array, dtype=np.float32)
        rows = np.minimum((np.arange(array.shape[0]) + 0.5) * found.stride_px, chip.height - 1).astype(int)
        cols = np.minimum((np.arange(array.shape[1]) + 0.5) * found.stride_px, chip.width - 1).astype(int)
        valid = chip.valid[np.ix_(rows, cols)]
        chosen = array[valid] if valid.any() else array.reshape(-1, array.shape[-1])
        return np.asarray(chosen.mean(axis=0), dtype=np.float32)


class TransformersFeatures(_Backbone):
    """A vision transformer of transformers (DINOv2, DINOv3, ViT …) by folder or hub id."""

    name = "transformers"

    def _open(self, device: str) -> tuple[Any, int]:
        from transformers import AutoConfig, AutoModel

        local = Path(self._checkpoint).is_dir()
        config = AutoConfig.from_pretrained(self._checkpoint, local_files_only=local)
        patch = getattr(config, "patch_size", None)
        if not isinstance(patch, int):
            raise ModelError(
                f"{self._checkpoint} is a {config.model_type}; a vision transformer with patches is expected"
            )
        model = AutoModel.from_pretrained(self._checkpoint, local_files_only=local)
        return model.to(device).eval(), patch

    def _cells(self, tensor: Any) -> Any:
        rows, cols = tensor.shape[2] // self._patch, tensor.shape[3] // self._patch
        tokens = self._model(pixel_values=tensor).last_hidden_state[0]
        # Class and register tokens come first; the patches are the last ones.
        return tokens[-rows * cols :].t().reshape(-1, rows, cols)


class TimmFeatures(_Backbone):
    """A vision transformer of timm: architecture name and a checkpoint file.

    Args:
        checkpoint: File with a state dict (.pt, .pth, .safetensors).
        architecture: timm's name of the model, such as "vit_small_patch16_dinov3".
    """

    name = "timm"

    def __init__(self, checkpoint: str = "", architecture: str = "vit_small_patch16_224") -> None:
        super().__init__(checkpoint)
        self._architecture = architecture

    @property
    def version(self) -> str:
        """Changes with the architecture and the checkpoint."""
        return f"1-{self._architecture}-{Path(self._checkpoint).name or 'none'}"

    def _open(self, device: str) -> tuple[Any, int]:
        import timm

        if not Path(self._checkpoint).is_file():
            raise ModelError(f"no checkpoint at {self._checkpoint}; give a file with a state dict")
        model = timm.create_model(
            self._architecture, pretrained=False, num_classes=0, checkpoint_path=self._checkpoint, dynamic_img_size=True
        )
        patch = model.patch_embed.patch_size[0]
        return model.to(device).eval(), int(patch)

    def _cells(self, tensor: Any) -> Any:
        rows, cols = tensor.shape[2] // self._patch, tensor.shape[3] // self._patch
        return self._model.forward_features(tensor)[0][-rows * cols :].t().reshape(-1, rows, cols)


class TorchGeoFeatures(_Backbone):
    """A vision transformer of TorchGeo over all bands of the chip.

    Args:
        checkpoint: File with a state dict.
        architecture: Function of `torchgeo.models`, such as "vit_small_patch16_224".
        scale: Raw values are divided by this (10,000 for Sentinel-2 digital numbers).
    """

    name = "torchgeo"

    def __init__(
        self, checkpoint: str = "", architecture: str = "vit_small_patch16_224", scale: float = 10000.0
    ) -> None:
        super().__init__(checkpoint)
        self._architecture, self._scale = architecture, float(scale)

    def _open(self, device: str) -> tuple[Any, int]:
        import torch
        import torchgeo.models

        make: Callable[..., Any] | None = getattr(torchgeo.models, self._architecture, None)
        if make is None:
            raise ModelError(f"torchgeo.models has no {self._architecture!r}")
        if not Path(self._checkpoint).is_file():
            raise ModelError(f"no checkpoint at {self._checkpoint}; give a file with a state dict")
        state = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
        bands = int(state["patch_embed.proj.weight"].shape[1])
        model = make(in_chans=bands, num_classes=0, dynamic_img_size=True)
        model.load_state_dict(state, strict=False)
        self._bands = bands
        return model.to(device).eval(), int(model.patch_embed.patch_size[0])

    def _planes(self, chip: ChipInput) -> Any:
        if chip.pixels.shape[0] != self._bands:
            raise ModelError(f"the backbone takes {self._bands} bands, the chip has {chip.pixels.shape[0]}")
        filled = np.where(chip.valid, np.nan_to_num(np.asarray(chip.pixels, dtype=np.float32)), 0)
        return filled / np.float32(self._scale)

    def _cells(self, tensor: Any) -> Any:
        rows, cols = tensor.shape[2] // self._patch, tensor.shape[3] // self._patch
        return self._model.forward_features(tensor)[0][-rows * cols :].t().reshape(-1, rows, cols)


class SamFeatures:
    """The image embedding of SAM 1 or SAM 2 as features, 256 values per cell of a 64 × 64 grid over the chip.

    Args:
        checkpoint: Path of a SAM checkpoint.
    """

    name = "sam"

    def __init__(self, checkpoint: str = "") -> None:
        self._checkpoint = checkpoint
        self._model: Any = None

    @property
    def version(self) -> str:
        """Changes with the checkpoint."""
        return f"1-{Path(self._checkpoint).name or 'none'}"

    def load(self, device: str) -> None:
        """Load the checkpoint.

        Raises:
            ModelError: it is missing or no SAM.
        """
        from geolabel.predict.sam_models import load_sam

        self._model = load_sam(Path(self._checkpoint), device)

    def features(self, chip: ChipInput) -> FeatureMap:
        """Return (h, w, 256) float32 over the chip."""
        import cv2

        if self._model is None:
            raise ModelError("the features 'sam' were not loaded; call load first")
        image = self._model.encode([chip.rgb])[0].image
        cells = self._model.covered(image, chip.width, chip.height).float().numpy()
        array = np.moveaxis(cells, 0, -1)
        # Cells of a stretched chip are not square; those of the features are.
        stride = max(chip.width, chip.height) / max(array.shape[:2])
        size = max(1, round(chip.width / stride)), max(1, round(chip.height / stride))
        if (array.shape[1], array.shape[0]) != size:
            array = np.stack([cv2.resize(c, size, interpolation=cv2.INTER_LINEAR) for c in cells], axis=-1)
        return FeatureMap(array=np.ascontiguousarray(array), stride_px=stride)

    def pooled(self, chip: ChipInput) -> npt.NDArray[np.float32]:
        """Return the mean over the chip, (256,) float32."""
        return np.asarray(self.features(chip).array.mean(axis=(0, 1)), dtype=np.float32)
