from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from hspace.attributes import Scorer, ZeroShot
from hspace.errors import HspaceError

PROMPTS = {
    "smile": ("a smiling face", "a serious face"),
    "age": ("the face of an old one", "young"),  # of other lengths: padded
}


@pytest.fixture(scope="module")
def scorer(clip_folder: Path) -> ZeroShot:
    return ZeroShot(clip_folder, PROMPTS, device="cpu")


def test_scores_are_log_odds_of_what_transformers_pipeline_answers(
    scorer: ZeroShot, clip_folder: Path, pictures: list[Image.Image], images: Tensor
) -> None:
    scores = scorer(images)
    assert isinstance(scorer, Scorer)
    assert (tuple(scores), scorer.model_id) == (scorer.names, str(clip_folder)) == (("smile", "age"), str(clip_folder))
    assert {(score.shape, score.dtype) for score in scores.values()} == {((40,), torch.float32)}
    pipe = transformers.pipeline("zero-shot-image-classification", model=str(clip_folder), device="cpu")
    for name, pair in PROMPTS.items():
        answers = pipe(pictures, candidate_labels=list(pair), hypothesis_template="{}")
        much = [answer["score"] for one in answers for answer in one if answer["label"] == pair[0]]
        assert scores[name].std() > 0.1
        torch.testing.assert_close(scores[name].sigmoid(), torch.tensor(much), atol=1e-5, rtol=1e-4)


def test_scores_are_differences_of_clips_own_logits(scorer: ZeroShot, clip_folder: Path, images: Tensor) -> None:
    crops = images[:4, :, 2:18, 4:20]  # 16 x 16, so that the processor resizes nothing
    network = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip_folder)
    tokens = tokenizer(list(PROMPTS["smile"]), return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = network(pixel_values=((crops + 1) / 2 - mean) / std, **tokens).logits_per_image
    torch.testing.assert_close(scorer(crops)["smile"], logits[:, 0] - logits[:, 1], atol=1e-4, rtol=1e-4)


def test_opposite_prompts_give_opposite_scores(clip_folder: Path, scorer: ZeroShot, images: Tensor) -> None:
    swapped = {name: [little, much] for name, (much, little) in PROMPTS.items()}
    opposite = ZeroShot(clip_folder, swapped, device="cpu")(images[:3])
    assert all(torch.allclose(opposite[name], -scorer(images[:3])[name], atol=1e-5) for name in PROMPTS)


def test_batch_and_prompts_equal_single(clip_folder: Path, scorer: ZeroShot, images: Tensor) -> None:
    together = scorer(images)
    only_age = ZeroShot(clip_folder, {"age": PROMPTS["age"]}, device="cpu")
    for i in (0, 31, 32, 39):  # 32 pictures go through the network at a time
        alone = scorer(images[i : i + 1])
        assert all(torch.allclose(alone[name][0], together[name][i], atol=1e-5) for name in PROMPTS)
        assert torch.allclose(only_age(images[i : i + 1])["age"][0], together["age"][i], atol=1e-5)


def test_grey_and_no_pictures(scorer: ZeroShot, images: Tensor) -> None:
    grey = images[:2, :1].double()
    assert torch.equal(scorer(grey)["age"], scorer(grey.repeat(1, 3, 1, 1))["age"])
    assert scorer(images[:0])["age"].shape == (0,)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "prompts: expected at least one attribute with its pair of prompts"),
        ({"smile": "a smiling face"}, r"prompts of 'smile': expected a pair .*, found 'a smiling face'"),
        ({"smile": "ab"}, r"prompts of 'smile': expected a pair .*, found 'ab'"),
        ({"smile": ("a", "b", "c")}, r"prompts of 'smile': expected a pair .*, found \('a', 'b', 'c'\)"),
        (
            {"smile": ("a smiling face", " ")},
            r"prompts of 'smile': expected a pair .*, found \('a smiling face', ' '\)",
        ),
        ({"smile": ("a face", "A  face")}, "prompts of 'smile': .* reads 'a face' and 'A  face' alike"),
        ({"smile": ("a face", "s e r i o u s " * 5)}, r"reads prompts of at most 32 tokens, not 37: 's e r i"),
    ],
)
def test_bad_prompts_are_one_clear_line(clip_folder: Path, prompts: Any, message: str) -> None:
    with pytest.raises(HspaceError, match=message) as caught:
        ZeroShot(clip_folder, prompts, device="cpu")
    assert "\n" not in str(caught.value)


def test_prompts_for_a_classifier_are_refused(classifier_folder: Path) -> None:
    with pytest.raises(HspaceError, match=r"is a classifier \(ViTForImageClassification\) .* takes no prompts"):
        ZeroShot(classifier_folder, PROMPTS)


def test_another_model_is_no_clip(clip_folder: Path, tmp_path: Path) -> None:
    transformers.CLIPModel.from_pretrained(clip_folder).vision_model.save_pretrained(tmp_path)
    with pytest.raises(HspaceError, match="expected a CLIP model, found CLIPVision"):
        ZeroShot(tmp_path, PROMPTS)


def test_a_tokenizer_that_is_missing_is_told(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder, ignore=shutil.ignore_patterns("*token*", "vocab*", "merges*"))
    with pytest.raises(HspaceError, match=r"clip: no tokenizer: expected tokenizer\.json or vocab\.json") as caught:
        ZeroShot(folder, PROMPTS)
    assert "\n" not in str(caught.value)


def test_a_damaged_tokenizer_is_told(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(HspaceError, match="the tokenizer can't be loaded"):
        ZeroShot(folder, PROMPTS)


def test_a_tokenizer_without_padding_is_told(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(HspaceError, match="the tokenizer fails on the prompts"):
        ZeroShot(folder, PROMPTS)


def test_transformers_missing_is_told(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(HspaceError, match=r"pip install 'hspace\[transformers\]'"):
        ZeroShot(clip_folder, PROMPTS)
