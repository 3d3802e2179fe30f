"""SamGeo, SamGeo2, SamGeo3 and LangSAM of segment-geospatial: made from checkpoints of our store, without surprises.

Our own predictors run the models underneath directly, since segment-geospatial goes through files. Who wants its
classes (for notebooks, or to compare) gets them here, loaded from the same checkpoints.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from geolabel.errors import ModelError
from geolabel.predict.sam_models import architecture_of, read_checkpoint

_SAM2_IDS = {"t": "sam2-hiera-tiny", "s": "sam2-hiera-small", "b+": "sam2-hiera-base-plus", "l": "sam2-hiera-large"}


def samgeo(checkpoint: Path, device: str = "cpu", **options: Any) -> Any:
    """Return a `samgeo.SamGeo` (SAM 1) or `samgeo.SamGeo2` (SAM 2), told apart by the checkpoint itself.

    Args:
        checkpoint: Local file.
        device: "cpu", "cuda" …
        options: `automatic` (default True: masks of everything; False: prompts), and those of the generator or
            predictor underneath, such as `points_per_side`.

    Raises:
        ModelError: the checkpoint is neither.
    """
    architecture = architecture_of(read_checkpoint(checkpoint))
    if architecture.family == "sam1":
        from samgeo import SamGeo

        automatic = bool(options.pop("automatic", True))
        # SamGeo passes over keywords that it doesn't know; those of the generator go in a dictionary of their own.
        options = {**options.pop("sam_kwargs", {}), **options}
        return SamGeo(
            model_type=architecture.size, checkpoint=str(checkpoint), device=device, automatic=automatic,
            sam_kwargs=options,
        )  # fmt: skip
    return _samgeo2(checkpoint, architecture.size, device, options)


def _samgeo2(checkpoint: Path, size: str, device: str, options: dict[str, Any]) -> Any:
    """Make a SamGeo2 around our loaded module: its own constructor only fetches from the hub."""
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
    from sam2.sam2_image_predictor import SAM2ImagePredictor
    from samgeo import SamGeo2

    from geolabel.predict.sam_models import load_sam

    module = load_sam(checkpoint, device).module
    made = SamGeo2.__new__(SamGeo2)
    automatic = bool(options.pop("automatic", True))
    made.model_id, made.model_version, made.device, made.checkpoint = _SAM2_IDS[size], "sam2", device, str(checkpoint)
    made.source, made.image, made.masks, made.batch, made.kwargs = None, None, None, False, options
    made.objects, made.mask_scores = None, None
    if automatic:
        # SamGeo2's own default; the generator's is three masks for each click.
        made.mask_generator = SAM2AutomaticMaskGenerator(module, **{"multimask_output": False, **options})
    else:
        made.predictor = SAM2ImagePredictor(module, **options)
    made.automatic = automatic
    return made


def samgeo3(checkpoint: str, device: str = "cpu", **options: Any) -> Any:
    """Return a `samgeo.samgeo3.SamGeo3` on transformers' SAM 3.

    Raises:
        ModelError: it can't be loaded.
    """
    from samgeo.samgeo3 import SamGeo3

    try:
        return SamGeo3(backend="transformers", model_id=checkpoint, device=device, **options)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"SamGeo3 can't be loaded from {checkpoint}: {str(error)[:200]}") from error


def langsam_problem() -> str:
    """Tell in one sentence why LangSAM can't run here, or "".

    Its module is never imported to find out: it runs pip when a package is missing.
    """
    if importlib.util.find_spec("groundingdino") is None:
        return (
            "LangSAM needs groundingdino-py, which is not installed; use SAM 3 for words (`geolabel models pull sam3`)"
        )
    import transformers

    if int(transformers.__version__.split(".")[0]) >= 5:
        return (
            f"LangSAM's GroundingDINO was written for transformers 4; {transformers.__version__} is installed. "
            "Use SAM 3 for words (`geolabel models pull sam3`)"
        )
    return ""


def langsam(checkpoint: str, **options: Any) -> Any:
    """Return a `samgeo.text_sam.LangSAM` where it can run.

    Raises:
        ModelError: it can't run here; the message says why and what to use.
    """
    problem = langsam_problem()
    if problem:
        raise ModelError(problem)
    from samgeo.text_sam import LangSAM

    return LangSAM(checkpoint=checkpoint, **options)
