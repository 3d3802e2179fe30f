"""SAM 3 of transformers: the picture is encoded once, then asked for every word or exemplar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geolabel.errors import ModelError

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sam3Image:
    """An encoded picture: features of the model, and its size in px."""

    features: Any
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sam3Found:
    """One instance: (row, col) mask, its own score 0 to 1, and the presence score of the whole picture."""

    mask: npt.NDArray[np.bool_]
    score: float
    presence: float


class Sam3:
    """A loaded SAM 3; keeps no picture between calls.

    Args:
        checkpoint: Folder of transformers' form with weights and tokenizer, or a hub id.
        device: "cpu", "cuda" …

    Raises:
        ModelError: it can't be loaded.
    """

    def __init__(self, checkpoint: str, device: str) -> None:
        import torch
        from transformers import CLIPTokenizerFast, Sam3Config, Sam3Model

        local = Path(checkpoint).is_dir()
        try:
            config = Sam3Config.from_pretrained(checkpoint, local_files_only=local)
            if config.model_type != "sam3" and not str(config.model_type).startswith("sam3"):
                raise ModelError(f"{checkpoint} is a {config.model_type}; SAM 3 is expected")
            self._model: Any = Sam3Model.from_pretrained(checkpoint, local_files_only=local).to(device).eval()
            self._tokenizer: Any = CLIPTokenizerFast.from_pretrained(checkpoint, local_files_only=local)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"SAM 3 can't be loaded from {checkpoint}: {str(error)[:200]}; its weights are gated, "
                "`geolabel models pull sam3` needs HF_TOKEN"
            ) from error
        self._torch = torch
        self._device = torch.device(device)
        self._size = int(config.vision_config.image_size)
        self._words = int(config.text_config.max_position_embeddings)

    def _running(self) -> Any:
        # Autocast belongs to the thread that runs the model, so it is entered here and not at load.
        enabled = self._device.type == "cuda"
        return self._torch.autocast(self._device.type, dtype=self._torch.bfloat16, enabled=enabled)

    def image(self, rgb: npt.NDArray[np.uint8]) -> Sam3Image:
        """Encode a (row, col, 3) uint8 picture, stretched to the model's square."""
        torch = self._torch
        with torch.inference_mode(), self._running():
            pixels = torch.from_numpy(np.ascontiguousarray(rgb)).to(self._device).permute(2, 0, 1)[None].float()
            size = (self._size, self._size)
            pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
            features = self._model.get_vision_features(pixel_values=pixels / 127.5 - 1.0)
        return Sam3Image(features=features, width=int(rgb.shape[1]), height=int(rgb.shape[0]))

    def ask(self, image: Sam3Image, words: str, boxes: Sequence[Box] = ()) -> list[Sam3Found]:
        """Return the instances of what the words (and exemplar boxes, px) mean, the surest first."""
        torch = self._torch
        tokens = self._tokenizer(
            words, return_tensors="pt", padding="max_length", truncation=True, max_length=self._words
        ).to(self._device)
        more: dict[str, Any] = {}
        if boxes:
            scale = np.array([image.width, image.height, image.width, image.height], dtype=np.float64)
            xyxy = np.asarray(boxes, dtype=np.float64) / scale
            cxcywh = np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], axis=1)
            more["input_boxes"] = torch.as_tensor(cxcywh[None], dtype=torch.float32, device=self._device)
            more["input_boxes_labels"] = torch.ones((1, len(boxes)), dtype=torch.long, device=self._device)
        with torch.inference_mode(), self._running():
            out = self._model(
                vision_embeds=image.features, input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, **more
            )
            scores = out.pred_logits[0].float().sigmoid()
            presence = float(out.presence_logits[0].float().sigmoid()) if out.presence_logits is not None else 1.0
            good = (scores > 0.05).nonzero().flatten()
            good = good[scores[good].argsort(descending=True)][:200]
            masks = torch.nn.functional.interpolate(
                out.pred_masks[:, good].float(), (image.height, image.width), mode="bilinear", align_corners=False
            )[0]
        arrays = (masks > 0).cpu().numpy()
        return [
            Sam3Found(mask=arrays[i], score=float(scores[index]), presence=presence)
            for i, index in enumerate(good.tolist())
        ]
