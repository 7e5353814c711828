from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from scipy.special import logsumexp
from tests.attributes.tiny_transformers import edit_config, save_classifier
from torch import Tensor

from hspace.attributes import ImageClassifier, Scorer
from hspace.attributes.classifier import log_odds
from hspace.errors import HspaceError


def pipeline_scores(folder: Path, pictures: list[Image.Image], activation: str) -> dict[str, Tensor]:
    pipe = transformers.pipeline("image-classification", model=str(folder), device="cpu")
    answers = pipe(pictures, top_k=100, function_to_apply=activation)
    by_name = [{answer["label"]: answer["score"] for answer in answers_of_one} for answers_of_one in answers]
    return {name: torch.tensor([row[name] for row in by_name]) for name in by_name[0]}


@pytest.fixture(scope="module")
def classifier(classifier_folder: Path) -> ImageClassifier:
    return ImageClassifier(classifier_folder, device="cpu")


def test_scores_are_log_odds_of_what_transformers_pipeline_answers(
    classifier: ImageClassifier, classifier_folder: Path, pictures: list[Image.Image], images: Tensor
) -> None:
    scores = classifier(images)
    assert isinstance(classifier, Scorer)
    assert tuple(scores) == classifier.names == ("calm", "smile", "frown")
    assert {(score.shape, score.dtype) for score in scores.values()} == {((40,), torch.float32)}
    oracle = pipeline_scores(classifier_folder, pictures, "softmax")
    for name in classifier.names:
        assert scores[name].std() > 0.1
        torch.testing.assert_close(scores[name].sigmoid(), oracle[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [(["hat", "beard"], "multi_label_classification"), (["age", "weight"], "regression"), (["smile"], None)],
)
def test_labels_that_exclude_nothing_are_scored_by_their_logit(
    labels: list[str], problem: str | None, tmp_path: Path, pictures: list[Image.Image], images: Tensor
) -> None:
    folder = save_classifier(tmp_path, labels, problem_type=problem)
    scores = ImageClassifier(folder, device="cpu")(images[:4])
    oracle = pipeline_scores(folder, pictures[:4], "none")
    assert list(scores) == labels
    for name in labels:
        torch.testing.assert_close(scores[name], oracle[name], atol=1e-4, rtol=1e-4)


def test_batch_equals_single(classifier: ImageClassifier, images: Tensor) -> None:
    together = classifier(images)
    for i in (0, 31, 32, 39):  # 32 pictures go through the network at a time
        alone = classifier(images[i : i + 1])
        assert all(torch.allclose(alone[name][0], together[name][i], atol=1e-5) for name in classifier.names)


def test_grey_other_float_types_and_gradients(classifier: ImageClassifier, images: Tensor) -> None:
    grey = images[:3, :1]
    expected = classifier(grey.repeat(1, 3, 1, 1))["smile"]
    assert torch.equal(classifier(grey)["smile"], expected)
    doubled = classifier(grey.double().requires_grad_())["smile"]
    assert torch.equal(doubled, expected)
    assert not doubled.requires_grad
    assert classifier(grey.bfloat16())["smile"].dtype == torch.float32


def test_no_pictures_give_no_scores(classifier: ImageClassifier) -> None:
    assert {score.shape for score in classifier(torch.zeros(0, 3, 8, 8)).values()} == {(0,)}


def test_half_precision_checkpoints_compute_in_float32(tmp_path: Path, images: Tensor) -> None:
    folder = save_classifier(tmp_path, ["a", "b"])
    network = transformers.AutoModelForImageClassification.from_pretrained(folder).half()
    network.save_pretrained(folder)
    scores = ImageClassifier(folder, device="cpu")(images[:4])["a"]
    exact = log_odds(network.float()(images[:4, :, 2:18, 4:20]).logits)[:, 0].float()
    again = ImageClassifier(folder, device="cpu")(images[:4, :, 2:18, 4:20])["a"]
    torch.testing.assert_close(again, exact, atol=1e-5, rtol=1e-4)  # 16 x 16, so that the processor resizes nothing
    assert not torch.equal(scores, again)


def test_two_classes_of_one_label_get_their_numbers(tmp_path: Path, images: Tensor) -> None:
    folder = save_classifier(tmp_path, ["crane", "duck", "crane"])  # as in ImageNet: the bird and the machine
    assert list(ImageClassifier(folder, device="cpu")(images[:1])) == ["crane (0)", "duck", "crane (2)"]


def test_loading_leaves_transformers_reports_as_they_were(classifier_folder: Path) -> None:
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    ImageClassifier(classifier_folder, device="cpu")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_loading_prints_nothing(classifier_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ImageClassifier(classifier_folder, device="cpu")
    assert capfd.readouterr() == ("", "")


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(2, 6)), elements=st.floats(-1e3, 1e3)))
def test_log_odds_are_the_logit_minus_logsumexp_of_the_others(logits: NDArray[np.float64]) -> None:
    others = [logsumexp(np.delete(logits, i, axis=1), axis=1) for i in range(logits.shape[1])]
    expected = torch.from_numpy(logits - np.stack(others, 1))
    torch.testing.assert_close(log_odds(torch.from_numpy(logits)), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 4, 8, 8), r"images of shape \(n, 3, h, w\) or \(n, 1, h, w\), not \(2, 4, 8, 8\)"),
        (torch.full((2, 3, 8, 8), torch.nan), "picture 1 of 2 holds NaN or infinite numbers"),
    ],
)
def test_bad_pictures_are_named(classifier: ImageClassifier, images: Tensor, message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        classifier(images)


def test_clip_without_prompts_is_told_so(clip_folder: Path) -> None:
    with pytest.raises(HspaceError, match=r"is a CLIP model, which needs prompts: .*'smile'") as caught:
        ImageClassifier(clip_folder)
    assert str(clip_folder) in str(caught.value)


def test_a_network_without_a_head_is_no_classifier(classifier_folder: Path, tmp_path: Path) -> None:
    """transformers itself would go on with a head of random numbers."""
    folder = tmp_path / "headless"
    shutil.copytree(classifier_folder, folder)
    transformers.ViTModel.from_pretrained(classifier_folder).save_pretrained(folder)
    with pytest.raises(HspaceError, match="expected an image classifier or CLIP, found ViTModel"):
        ImageClassifier(folder)
    edit_config(folder, architectures=["ViTForImageClassification"])
    with pytest.raises(HspaceError, match=r"weights lack 2 that ViTForImageClassification needs: classifier\.bias"):
        ImageClassifier(folder)


def test_transformers_missing_is_told_before_anything_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(HspaceError, match=r"need transformers .*: pip install 'hspace\[transformers\]'"):
        ImageClassifier("nobody/nothing")
