"""Real architectures with seeded random weights saved to disk: SAM 1, SAM 2.1, SAM 3, backbones, segment-geospatial."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geolabel.errors import ModelError
from geolabel.predict.backbones import TimmFeatures, TransformersFeatures
from geolabel.predict.contract import PredictContext
from geolabel.predict.embeddings import embedding_from_bytes, embedding_to_bytes
from geolabel.predict.sam_automatic import AutomaticSettings, _plain_nms, automatic_masks
from geolabel.predict.sam_models import SAM_VIT_B, ImageEmbedding, SamModel, halving, load_sam, save_seeded
from geolabel.predict.sam_predictors import SamAutomatic, exemplar_predictor, text_predictor
from geolabel.predict.samgeo_models import langsam, langsam_problem
from geolabel.testing.predictor_contract import TAXONOMY, check_answer, make_chip_input

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def sam2(sam_checkpoint: Path) -> SamModel:
    return load_sam(sam_checkpoint)


def made_embedding(seed: int, width: int, height: int, fine: bool = True) -> ImageEmbedding:
    """An embedding of the right shapes without the seconds that encoding takes."""
    torch.manual_seed(seed)
    parts = (torch.randn(64, 128, 128).half(), torch.randn(32, 256, 256).half()) if fine else None
    return ImageEmbedding(image=torch.randn(256, 64, 64).half(), fine=parts, width=width, height=height)


def published(model: SamModel, embedding: ImageEmbedding, points: Any, labels: Any, multimask: bool) -> Any:
    """The published decoder's answer."""
    module = model.module
    with torch.inference_mode():
        if embedding.fine is not None:
            sparse, dense = module.sam_prompt_encoder(points=(points, labels), boxes=None, masks=None)
            logits, scores, _, _ = module.sam_mask_decoder(
                image_embeddings=embedding.image.float()[None], image_pe=module.sam_prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=multimask,
                repeat_image=False, high_res_features=[f.float()[None] for f in embedding.fine[::-1]],
            )  # fmt: skip
        else:
            sparse, dense = module.prompt_encoder(points=(points, labels), boxes=None, masks=None)
            logits, scores = module.mask_decoder(
                image_embeddings=embedding.image.float()[None], image_pe=module.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=multimask,
            )  # fmt: skip
    return logits[0], scores[0]


@pytest.mark.parametrize("multimask", [True, False])
def test_the_decoder_says_what_the_published_one_says(sam2: SamModel, multimask: bool) -> None:
    embedding = made_embedding(0, 1024, 1024)
    points = torch.tensor([[[300.0, 200.0], [500.0, 700.0], [10.0, 10.0]]])
    labels = torch.tensor([[1, 0, 1]], dtype=torch.int32)
    logits, scores, _, _ = sam2.decode(sam2.prepare(embedding), points, labels, multimask=multimask)
    wanted, quality = published(sam2, embedding, points, labels, multimask)
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores, quality, atol=1e-5, rtol=1e-5)


def test_sam_1_is_told_apart_and_decodes_as_published(tmp_path: Path) -> None:
    model = load_sam(save_seeded(tmp_path / "vit_b.pth", SAM_VIT_B))
    assert model.architecture.family == "sam1"
    assert model.architecture.size == "vit_b"
    embedding = made_embedding(1, 1000, 500, fine=False)
    points, labels = torch.tensor([[[300.0, 200.0]]]), torch.tensor([[1]], dtype=torch.int32)
    logits, scores, _, _ = model.decode(model.prepare(embedding), points, labels, multimask=True)
    wanted, quality = published(model, embedding, points, labels, True)
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores, quality, atol=1e-5, rtol=1e-5)
    # A chip twice as wide as high fills the upper half of the padded square.
    assert model.ask(model.prepare(embedding), (1000, 500), [(300, 200, True)]).logits.shape == (128, 256)


def test_automatic_masks_are_those_of_the_published_generator(sam2: SamModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

        values = {"points_per_side": 3, "pred_iou_thresh": 0.5, "stability_score_thresh": 0.2,
                  "stability_score_offset": 0.05, "box_nms_thresh": 0.999}  # fmt: skip
        theirs = SAM2AutomaticMaskGenerator(sam2.module, output_mode="binary_mask", **values)
    embedding = made_embedding(2, 128, 128)

    def set_image(image: Any) -> None:
        assert embedding.fine is not None
        theirs.predictor._features = {
            "image_embed": embedding.image.float()[None],
            "high_res_feats": [f.float()[None] for f in embedding.fine[::-1]],
        }
        theirs.predictor._orig_hw, theirs.predictor._is_image_set = [(128, 128)], True

    monkeypatch.setattr(theirs.predictor, "set_image", set_image)
    wanted = theirs.generate(np.zeros((128, 128, 3), np.uint8))
    found = automatic_masks(sam2, sam2.prepare(embedding), (128, 128), AutomaticSettings(**values))  # type: ignore[arg-type]
    assert len(found) == len(wanted) > 0
    ours = sorted((item.mask.to_array() > 0 for item in found), key=lambda m: m.tobytes())
    published_masks = sorted((item["segmentation"] for item in wanted), key=lambda m: m.tobytes())
    agreement = [float((a == b).mean()) for a, b in zip(ours, published_masks, strict=True)]
    assert np.mean(agreement) > 0.999


def test_duplicates_leave_the_same_way_without_torchvision() -> None:
    from torchvision.ops import nms

    corners = torch.from_numpy(RNG.random((60, 2)) * 50).float()
    boxes = torch.cat([corners, corners + torch.from_numpy(RNG.random((60, 2)) * 30 + 5).float()], dim=1)
    scores = torch.from_numpy(RNG.permutation(60) / 60).float()
    assert nms(boxes, scores, 0.5).tolist() == _plain_nms(boxes, scores, 0.5).tolist()


def test_a_batch_too_large_is_halved_and_one_image_too_large_is_an_error() -> None:
    tried: list[int] = []

    def run(part: Any) -> list[int]:
        tried.append(len(part))
        if len(part) > 2:
            raise torch.cuda.OutOfMemoryError("made up")
        return [2 * i for i in part]

    assert halving(range(9), 8, run) == [2 * i for i in range(9)]
    assert tried[:3] == [8, 4, 2]

    def never(part: Any) -> list[int]:
        raise torch.cuda.OutOfMemoryError("made up")

    with pytest.raises(ModelError, match="does not fit"):
        halving([1], 1, never)


def test_embeddings_survive_the_store() -> None:
    embedding = made_embedding(3, 300, 200)
    again = embedding_from_bytes(embedding_to_bytes(embedding), 300, 200)
    assert torch.equal(again.image, embedding.image)
    assert again.fine is not None
    assert embedding.fine is not None
    assert torch.equal(again.fine[1], embedding.fine[1])
    with pytest.raises(ModelError, match="damaged"):
        embedding_from_bytes(embedding_to_bytes(embedding)[:1000], 300, 200)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"no checkpoint", "can't be read"),
        (None, "no checkpoint at"),
        ({"a": torch.ones(1)}, "neither SAM 1 nor SAM 2"),
    ],
)
def test_wrong_checkpoints_are_named(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ModelError, match=words):
        load_sam(path)


def test_predictors_without_weights_say_what_is_missing() -> None:
    context = PredictContext(project_id="1", taxonomy=TAXONOMY)
    for predictor in (SamAutomatic(), text_predictor(), exemplar_predictor()):
        assert "geolabel models pull" in predictor.ready(context)
        with pytest.raises(ModelError):
            predictor.load("cpu")


@pytest.fixture(scope="module")
def sam3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SAM 3 of a tiny configuration with random weights and a tokenizer of letters."""
    from transformers import CLIPTokenizerFast, Sam3Config, Sam3Model

    folder = tmp_path_factory.mktemp("sam3")
    torch.manual_seed(0)
    same = {"hidden_size": 32, "num_attention_heads": 4}
    wide = {**same, "intermediate_size": 64}
    letters = [chr(i) for i in range(33, 127)]
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vision = {**wide, "model_type": "sam3_vit_model", "num_hidden_layers": 2, "image_size": 112, "patch_size": 14,
              "window_size": 4, "global_attn_indexes": [1], "pretrain_image_size": 112}  # fmt: skip
    config = Sam3Config(
        vision_config={"backbone_config": vision, "fpn_hidden_size": 32,
                       "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]},
        text_config={**wide, "vocab_size": 600, "projection_dim": 32, "num_hidden_layers": 2,
                     "max_position_embeddings": 16, "bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1},
        geometry_encoder_config={**wide, "num_layers": 1, "dropout": 0.0},
        detr_encoder_config={**wide, "num_layers": 1, "dropout": 0.0},
        detr_decoder_config={**wide, "num_layers": 2, "dropout": 0.0, "num_queries": 8},
        mask_decoder_config={**same, "num_upsampling_stages": 2},
    )  # fmt: skip
    Sam3Model(config).save_pretrained(folder)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    CLIPTokenizerFast(vocab=vocabulary, merges=[]).save_pretrained(folder)
    return folder


def test_words_of_the_taxonomy_become_regions_of_its_classes(sam3_folder: Path) -> None:
    predictor = text_predictor(checkpoint=str(sam3_folder))
    context = PredictContext(project_id="1", taxonomy=TAXONOMY)
    assert predictor.ready(context) == ""
    predictor.load("cpu")
    chips = [make_chip_input(RNG.integers(0, 255, (3, 60, 90), dtype=np.uint8)),
             make_chip_input(np.zeros((3, 32, 32), np.uint8), valid=np.zeros((32, 32), bool))]  # fmt: skip
    answers = predictor.predict(chips, context)
    assert [a.chip_id for a in answers] == [c.chip.id for c in chips]
    for answer, chip in zip(answers, chips, strict=True):
        check_answer(answer, chip, context, class_aware=True)
    assert "2 questions" in answers[0].reason


def test_dino_of_transformers_gives_a_vector_per_patch(tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    Dinov2Model(config).save_pretrained(tmp_path)
    extractor = TransformersFeatures(checkpoint=str(tmp_path))
    extractor.load("cpu")
    chip = make_chip_input(RNG.integers(0, 255, (3, 50, 70), dtype=np.uint8))
    found = extractor.features(chip)
    assert found.array.shape == (4, 5, 32)
    assert found.stride_px == 14
    assert np.isfinite(found.array).all()
    assert extractor.pooled(chip).shape == (32,)


def test_a_transformer_of_timm_gives_a_vector_per_patch(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    name = "vit_tiny_patch16_224"
    torch.save(timm.create_model(name, num_classes=0, dynamic_img_size=True).state_dict(), tmp_path / "vit.pth")
    extractor = TimmFeatures(checkpoint=str(tmp_path / "vit.pth"), architecture=name)
    extractor.load("cpu")
    found = extractor.features(make_chip_input(RNG.integers(0, 255, (3, 50, 70), dtype=np.uint8)))
    assert found.array.shape == (4, 5, 192)
    with pytest.raises(ModelError, match="no checkpoint"):
        TimmFeatures(checkpoint=str(tmp_path / "none.pth")).load("cpu")
    with pytest.raises(ModelError, match="need weights"):
        TimmFeatures().load("cpu")


def test_langsam_says_why_it_cannot_run_and_never_installs_anything() -> None:
    problem = langsam_problem()
    assert "SAM 3" in problem
    with pytest.raises(ModelError, match="LangSAM"):
        langsam("none")
