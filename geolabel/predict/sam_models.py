"""SAM 1 and SAM 2 by checkpoint: what it is, loading, image embeddings, and answers to prompts.

A loaded model keeps no image: embeddings are values that are handed in. So any number of threads may ask at the same
time, none sees another's image, and none waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from geolabel.errors import ModelError
from geolabel.predict.sam_decoder import PreparedImage, SamDecoder

Family: TypeAlias = Literal["sam1", "sam2"]
Rgb: TypeAlias = npt.NDArray[np.uint8]
Result = TypeVar("Result")
Item = TypeVar("Item")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SAM1 = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
_SAM2 = {(96, 12): "t", (96, 16): "s", (112, 24): "b+", (144, 48): "l"}
#: hydra keeps one global configuration; two loads at once would read each other's.
_BUILDING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Which model a checkpoint belongs to, found from its own tensors.

    Attributes:
        family: "sam1" or "sam2".
        size: "vit_b", "vit_l", "vit_h"; "t", "s", "b+", "l".
        config: Name of SAM 2's configuration file; "" for SAM 1.
    """

    family: Family
    size: str
    config: str = ""

    @property
    def name(self) -> str:
        """Short name, such as "sam2.1_t"."""
        return f"sam_{self.size}" if self.family == "sam1" else f"{self.config.split('/')[1]}_{self.size}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEmbedding:
    """Features of one chip, fp16 on the CPU; what the store keeps.

    Attributes:
        image: (c, 64, 64).
        fine: (c/4, 128, 128) and (c/8, 256, 256) of SAM 2, or None.
        width: Columns of the chip, px.
        height: Rows of the chip, px.
    """

    image: torch.Tensor
    fine: tuple[torch.Tensor, torch.Tensor] | None
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LowResMask:
    """One answer: (h, w) float32 logits that cover the whole chip, above 0 inside; and the predicted IoU."""

    logits: npt.NDArray[np.float32]
    score: float


def architecture_of(state: dict[str, Any]) -> Architecture:
    """Tell which model a state dict belongs to.

    Raises:
        ModelError: it is neither SAM 1 nor SAM 2.
    """
    if "image_encoder.trunk.patch_embed.proj.weight" in state:
        width = int(state["image_encoder.trunk.patch_embed.proj.weight"].shape[0])
        blocks = 1 + max(int(k.split(".")[3]) for k in state if k.startswith("image_encoder.trunk.blocks."))
        size = _SAM2.get((width, blocks))
        if size is not None:
            version = "sam2.1" if "no_obj_embed_spatial" in state else "sam2"
            return Architecture(family="sam2", size=size, config=f"configs/{version}/{version}_hiera_{size}.yaml")
        raise ModelError(f"a SAM 2 of width {width} with {blocks} blocks is unknown; known are {sorted(_SAM2)}")
    if "image_encoder.pos_embed" in state and "mask_decoder.iou_token.weight" in state:
        size = _SAM1.get(int(state["image_encoder.pos_embed"].shape[-1]))
        if size is not None:
            return Architecture(family="sam1", size=size)
    some = ", ".join(list(state)[:3])
    raise ModelError(f"the checkpoint is neither SAM 1 nor SAM 2; its tensors are {some or 'none'} …")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the tensors of a checkpoint; no code in it is run.

    Raises:
        ModelError: the file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise ModelError(f"no checkpoint at {path}; `geolabel models pull` fetches one, or give the path of a file")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(f"{path.name} can't be read as a torch checkpoint: {str(error)[:200]}") from error
    state = loaded.get("model", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(f"{path.name} holds no dictionary of tensors; a SAM checkpoint is expected")
    return state


def build(architecture: Architecture) -> Any:
    """Build the torch module of an architecture with its initial weights, on the CPU."""
    if architecture.family == "sam1":
        from segment_anything import sam_model_registry

        return sam_model_registry[architecture.size](checkpoint=None)
    import warnings

    with _BUILDING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sam2.build_sam import build_sam2

        return build_sam2(architecture.config, None, device="cpu", apply_postprocessing=False)


def load_sam(path: Path, device: str = "cpu") -> SamModel:
    """Load a SAM 1 or SAM 2 checkpoint onto a device.

    Raises:
        ModelError: the file is missing, damaged or of another architecture, or the device isn't there.
    """
    state = read_checkpoint(path)
    architecture = architecture_of(state)
    module = build(architecture)
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(f"{path.name} does not fit {architecture.name}: {str(error)[:300]}") from error
    return SamModel(module, architecture, device)


class SamModel:
    """A loaded model. Every method may be called from any thread at any time.

    Args:
        module: torch module of the family.
        architecture: What it is.
        device: "cpu", "cuda", "cuda:1" or "mps".
    """

    def __init__(self, module: Any, architecture: Architecture, device: str) -> None:
        try:
            self.device = torch.device(device)
            self._module = module.to(self.device).eval().requires_grad_(False)
        except (RuntimeError, AssertionError) as error:
            raise ModelError(f"the model can't be put on {device!r}: {str(error)[:200]}") from error
        self.architecture = architecture
        self.image_size = int(module.image_size if architecture.family == "sam2" else module.image_encoder.img_size)
        prompts = module.sam_prompt_encoder if architecture.family == "sam2" else module.prompt_encoder
        masks = module.sam_mask_decoder if architecture.family == "sam2" else module.mask_decoder
        self._decoder = SamDecoder(prompts, masks, pad_boxes=architecture.family == "sam2")

    @property
    def module(self) -> Any:
        """The torch module itself, for code that wants the published classes around it."""
        return self._module

    @contextmanager
    def running(self) -> Iterator[None]:
        """Enter inference mode and, on CUDA, bf16 in the thread that runs the model: both belong to a thread."""
        with torch.inference_mode():
            if self.device.type == "cuda":
                with torch.autocast("cuda", dtype=torch.bfloat16):
                    yield
            else:
                yield

    def encode(self, images: Sequence[Rgb], batch: int = 4) -> list[ImageEmbedding]:
        """Compute the embeddings of (row, col, 3) uint8 pictures, in order; a batch too large for memory is halved."""
        found = halving(images, batch, self._encode)
        return [
            ImageEmbedding(image=image, fine=fine, width=int(rgb.shape[1]), height=int(rgb.shape[0]))
            for rgb, (image, fine) in zip(images, found, strict=True)
        ]

    def _encode(self, images: Sequence[Rgb]) -> list[tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]]:
        planes = torch.stack([self._plane(rgb) for rgb in images])
        with self.running():
            if self.architecture.family == "sam1":
                features = self._module.image_encoder(planes)
                return [(_half(f), None) for f in features]
            out = self._module.forward_image(planes)
            fine0, fine1, image = out["backbone_fpn"][:3]
            if self._module.directly_add_no_mem_embed:
                image = image + self._module.no_mem_embed.reshape(1, -1, 1, 1)
            return [(_half(i), (_half(b), _half(a))) for i, b, a in zip(image, fine1, fine0, strict=True)]

    def _plane(self, rgb: Rgb) -> torch.Tensor:
        """Return the (3, s, s) float32 input: SAM 2 stretches the chip to a square, SAM 1 pads it to one."""
        pixels = torch.from_numpy(np.ascontiguousarray(rgb)).to(self.device).permute(2, 0, 1).float() / 255.0
        width, height = self._model_size(rgb.shape[1], rgb.shape[0])
        if pixels.shape[1:] != (height, width):
            pixels = torch.nn.functional.interpolate(
                pixels[None], (height, width), mode="bilinear", antialias=True, align_corners=False
            )[0]
        mean = pixels.new_tensor(_MEAN).reshape(3, 1, 1)
        std = pixels.new_tensor(_STD).reshape(3, 1, 1)
        pixels = (pixels - mean) / std
        return torch.nn.functional.pad(pixels, (0, self.image_size - width, 0, self.image_size - height))

    def _model_size(self, width: int, height: int) -> tuple[int, int]:
        if self.architecture.family == "sam2":
            return self.image_size, self.image_size
        scale = self.image_size / max(width, height)
        return int(width * scale + 0.5), int(height * scale + 0.5)

    def prepare(self, embedding: ImageEmbedding) -> PreparedImage:
        """Bring an embedding onto the device and compute what all prompts on it share."""
        with self.running():
            image = embedding.image.to(self.device, torch.float32)
            fine = None
            if embedding.fine is not None:
                fine = tuple(f.to(self.device, torch.float32) for f in embedding.fine)
            return self._decoder.prepare(image, None if fine is None else (fine[0], fine[1]))

    def place(self, xy: npt.NDArray[np.floating[Any]], width: int, height: int) -> torch.Tensor:
        """Return (…, 2) chip px as model px on the device."""
        model_w, model_h = self._model_size(width, height)
        scale = np.array([model_w / width, model_h / height])
        return torch.as_tensor(np.asarray(xy) * scale, dtype=torch.float32, device=self.device)

    def decode(
        self,
        image: PreparedImage,
        coords: torch.Tensor,
        labels: torch.Tensor,
        *,
        multimask: bool,
        iou_above: float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decode prompts in model px; see `SamDecoder.decode`."""
        with self.running():
            logits, scores, prompt, mask = self._decoder.decode(
                image, coords, labels, multimask=multimask, iou_above=iou_above
            )
            return logits.float(), scores, prompt, mask

    def covered(self, logits: torch.Tensor, width: int, height: int) -> torch.Tensor:
        """Cut (…, 256, 256) logits to the part that covers the chip (SAM 1 pads it to a square)."""
        model_w, model_h = self._model_size(width, height)
        rows = max(1, round(logits.shape[-2] * model_h / self.image_size))
        cols = max(1, round(logits.shape[-1] * model_w / self.image_size))
        return logits[..., :rows, :cols]

    def ask(
        self,
        image: PreparedImage,
        size: tuple[int, int],
        points: Sequence[tuple[float, float, bool]],
        box: tuple[float, float, float, float] | None = None,
    ) -> LowResMask:
        """Answer one prompt of a person with one mask.

        Args:
            image: From `prepare`.
            size: (width, height) of the chip, px.
            points: (x, y, positive) in chip px.
            box: (xmin, ymin, xmax, ymax) in chip px, or None.
        """
        width, height = size
        xy = [(x, y) for x, y, _ in points]
        kinds = [1 if positive else 0 for _, _, positive in points]
        if box is not None:
            xy = [(box[0], box[1]), (box[2], box[3]), *xy]
            kinds = [2, 3, *kinds]
        coords = self.place(np.asarray([xy], dtype=np.float64), width, height)
        labels = torch.tensor([kinds], dtype=torch.int32, device=self.device)
        # One click alone may mean the roof or the house; the surest of three readings is taken.
        multimask = len(kinds) == 1
        logits, scores, _, _ = self.decode(image, coords, labels, multimask=multimask)
        best = int(scores.argmax())
        picked = self.covered(logits[best], width, height).cpu().numpy()
        return LowResMask(logits=np.asarray(picked, dtype=np.float32), score=float(scores[best].clamp(0, 1)))


def _half(x: torch.Tensor) -> torch.Tensor:
    return x.to("cpu", torch.float16).contiguous()


def halving(items: Sequence[Item], batch: int, run: Callable[[Sequence[Item]], list[Result]]) -> list[Result]:
    """Run a function over batches; when one does not fit into memory, go on with batches half as large.

    Raises:
        ModelError: even a single item does not fit.
    """
    out: list[Result] = []
    start = 0
    while start < len(items):
        part = items[start : start + batch]
        try:
            out += run(part)
        except torch.cuda.OutOfMemoryError as error:
            if len(part) == 1:
                raise ModelError(f"one image does not fit into the device's memory: {str(error)[:150]}") from error
            batch = max(1, len(part) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        start += len(part)
    return out


def save_seeded(path: Path, architecture: Architecture, seed: int = 0) -> Path:
    """Write a checkpoint of a true architecture with seeded random weights, for tests and benchmarks."""
    torch.manual_seed(seed)
    module = build(architecture)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = module.state_dict()
    torch.save({"model": state} if architecture.family == "sam2" else state, path)
    return path


SAM21_TINY = Architecture(family="sam2", size="t", config="configs/sam2.1/sam2.1_hiera_t.yaml")
SAM_VIT_B = Architecture(family="sam1", size="vit_b")
