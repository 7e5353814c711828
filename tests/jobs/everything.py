"""All long jobs on a tiny model, as a script for launchers: each process writes what it returned."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tests import tiny
from torch import Tensor

import hspace
from hspace.diffusion import draw_each, draw_samples
from hspace.directions import Directions
from hspace.evaluation import evaluate
from hspace.jobs import Checkpoint, alone, world

Found = dict[str, Tensor]


def judge(images: Tensor) -> dict[str, Tensor]:
    return {"bright": images.mean((1, 2, 3)), "red": images[:, 0].mean((1, 2)) - images[:, 2].mean((1, 2))}


def sampler(batch_size: int = 2) -> hspace.Sampler:
    return hspace.Sampler(tiny.denoiser(), steps=2, eta=1.0, batch_size=batch_size)


def vectors(directions: Directions) -> Tensor:
    return torch.stack([item.vectors for item in directions]).double()


def pca(checkpoint: Checkpoint | None = None) -> Found:
    found = hspace.PCA(2).fit(sampler(), range(3, 14), checkpoint=checkpoint)
    return {"vectors": vectors(found.directions_), "mean": found.mean_, "seeds": torch.tensor(found.seeds_)}


def pca_of_few(checkpoint: Checkpoint | None = None) -> Found:
    """Fewer samples than three processes: one has nothing to do."""
    found = hspace.PCA(1, joint=True).fit(sampler(), range(2), checkpoint=checkpoint)
    return {"vectors": vectors(found.directions_)}


def samples(checkpoint: Checkpoint | None = None) -> Found:
    return {"x_0": draw_samples(sampler(), [5, 1, 8, 2, 11], checkpoint=checkpoint)}


def annotated(checkpoint: Checkpoint | None = None) -> Found:
    options: dict[str, Any] = {"n_extremes": 3, "unit_seeds": range(5), "folds": 2, "n_shuffles": 1}
    found = hspace.Annotated(classifier="svm", **options).fit(sampler(), judge, range(13), checkpoint=checkpoint)
    accuracies = torch.stack([torch.as_tensor(x) for by in found.accuracy_.values() for x in by.values()])
    assert found.shuffled_ is not None
    scores = torch.as_tensor(found.scores_["red"]).double()
    shuffled = vectors(found.shuffled_)
    return {"vectors": vectors(found.directions_), "accuracy": accuracies, "scores": scores, "shuffled": shuffled}


def annotated_in_noise(checkpoint: Checkpoint | None = None) -> Found:
    found = hspace.Annotated(["red"], n_extremes=3, space="noise", folds=2)
    return {"vectors": vectors(found.fit(sampler(), judge, range(9), checkpoint=checkpoint).directions_)}


def labelled(checkpoint: Checkpoint | None = None) -> Found:
    photos = sampler().run(range(20, 27)).float().clamp(-1, 1)
    labels = {"a": [1, 0, 1, 0, 1, 0, float("nan")], "b": [0, 0, 0, 1, 1, 1, 0]}
    found = hspace.Labelled(unit_seeds=range(4), folds=2).fit(sampler(), photos, labels, checkpoint=checkpoint)
    return {"vectors": vectors(found.directions_)}


def evaluation(checkpoint: Checkpoint | None = None) -> Found:
    which = sampler()
    own = hspace.random_directions(which.setting(), norms=[3.0, 2.0])
    controls = hspace.random_directions(which.setting(), norms=[3.0, 2.0], n=5, seed=1)
    more: dict[str, Any] = {"controls": controls, "level": 0.5, "unit_seeds": range(100, 105)}
    found = evaluate(which, own, judge, range(5), strengths=(-2, 1, 2), checkpoint=checkpoint, **more)
    left = [x for by in found.content.values() for x in by.values()]
    p_values = torch.tensor([verdict.p for verdict in found.verdicts])
    return {"scores": found.response.scores, "unit": found.response.unit, "content": torch.tensor(left), "p": p_values}


def learned(folder: Path | None = None, *, resume: bool = False) -> Found:
    options: dict[str, Any] = {"span": 3, "iterations": 3, "batch_size": 5, "checked": 4, "reconstructor": "lenet"}
    options |= {"replays": 1, "replay_batch_size": 2, "replay_size": 16, "warmup": 1, "shift_rate": 1e-3}
    found = hspace.Learned(2, **options).fit(sampler(), range(7), folder=folder, resume=resume)
    weights = {f"weight {name}": x for name, x in found.reconstructor_.state_dict().items()}
    lines = torch.tensor([[line["loss"], line["discriminator"]] for line in found.history_], dtype=torch.float64)
    return {"images": found.population_.images, "lines": lines, "vectors": vectors(found.directions_), **weights}


JOBS: dict[str, Callable[[], Found]] = {
    job.__name__: job
    for job in (pca, pca_of_few, samples, annotated, annotated_in_noise, labelled, evaluation, learned)
}


def everything() -> Found:
    return {f"{name}: {key}": x.contiguous() for name, job in JOBS.items() for key, x in job().items()}


def main(folder: Path) -> None:
    rank = world("cpu").rank
    save_file(everything(), folder / f"rank{rank}.safetensors")
    drawn: list[int] = []
    draw_each(sampler(), range(5), lambda seeds, _: drawn.extend(seeds))
    save_file({"seeds": torch.tensor(drawn, dtype=torch.int64)}, folder / f"drawn{rank}.safetensors")
    with alone():
        assert world().size == 1
        assert torch.equal(pca_of_few()["vectors"], pca_of_few()["vectors"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
