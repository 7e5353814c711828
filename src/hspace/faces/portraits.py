"""Draws a portrait from its factors: 64 x 64 RGB, the same picture for the same factors, about a millisecond.

The picture is drawn with Pillow at four times the size and reduced, so that small changes of a factor change the
picture smoothly. All lengths are in units of the drawing's side; angles in degrees, as Pillow has them.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hspace.faces.population import FACTORS, RANGES, Factors, sample_factors

__all__ = ["DRAWN", "IMAGE_SIZE", "render", "render_seeds", "stages"]

IMAGE_SIZE = 64
_SIDE = 256  # drawn at 4x, reduced with Lanczos

DRAWN = ("back_hair", "body", "head", "eyes", "nose", "wrinkles", "beard", "mouth", "fringe", "glasses")
"""What is drawn on the background, in this order."""

Colour = tuple[int, int, int]
Point = tuple[float, float]

_BLACK: Colour = (0, 0, 0)
_WRINKLE: Colour = (60, 35, 25)
_GREY_HAIR: Colour = (205, 205, 210)
_SKIN: tuple[Colour, ...] = ((255, 224, 200), (236, 188, 150), (190, 130, 90), (110, 70, 48))
_HAIR: tuple[Colour, ...] = ((30, 22, 18), (90, 55, 30), (170, 110, 50), (225, 190, 110))


def render(factors: Factors) -> NDArray[np.uint8]:
    """Draw one portrait.

    Args:
        factors: One value for each name in `FACTORS`, within `RANGES`.

    Returns:
        Image of shape (64, 64, 3), uint8 RGB.

    Raises:
        ValueError: A factor is missing, unknown, not finite or out of its range.

    Example:
        >>> from hspace.faces import render, sample_factors
        >>> render(sample_factors(0)).shape
        (64, 64, 3)
    """
    *_, (_, image) = stages(factors)
    pixels = np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS), dtype=np.float32)
    shade = 1.0 + 0.22 * factors["light"] * np.linspace(-1.0, 1.0, IMAGE_SIZE, dtype=np.float32)
    return np.clip(pixels * shade[None, :, None], 0, 255).astype(np.uint8)


def render_seeds(seeds: Iterable[int], *, independent: bool = False) -> NDArray[np.uint8]:
    """Draw the portraits of many seeds, shape (n, 64, 64, 3), uint8.

    Example:
        >>> from hspace.faces import render_seeds
        >>> render_seeds(range(3)).shape
        (3, 64, 64, 3)
    """
    images = [render(sample_factors(seed, independent=independent)) for seed in seeds]
    return np.stack(images) if images else np.empty((0, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


def stages(factors: Factors, drawn: Iterable[str] = DRAWN) -> Iterator[tuple[str, Image.Image]]:
    """The large drawing as it grows: the background, then the picture after each part.

    Args:
        factors: As for `render`.
        drawn: Which of `DRAWN`, in which order.

    Yields:
        Name of what was drawn last ("background" at first) and the picture, 256 x 256 RGB without the light. It is
        always the same object: copy what is to be kept.

    Raises:
        ValueError: As by `render`.

    Example:
        >>> from hspace.faces import sample_factors
        >>> from hspace.faces.portraits import stages
        >>> [name for name, _ in stages(sample_factors(0), ("head", "eyes"))]
        ['background', 'head', 'eyes']
    """
    _check(factors)
    image = Image.new("RGB", (_SIDE, _SIDE), _hue(factors["background"], 0.35, 0.85))
    yield "background", image
    portrait = _Portrait(ImageDraw.Draw(image), factors)
    for part in drawn:
        getattr(portrait, part)()
        yield part, image


def _check(factors: Factors) -> None:
    if set(factors) != set(FACTORS):
        odd = sorted(set(factors) ^ set(FACTORS))
        raise ValueError(f"a portrait has the factors {', '.join(FACTORS)}; missing or unknown: {', '.join(odd)}")
    for name, (low, high) in RANGES.items():
        if not low <= factors[name] <= high:  # NaN fails too
            raise ValueError(f"factor {name} must lie in [{low:g}, {high:g}], not {factors[name]}")


def _mix(a: Colour, b: Colour, t: float) -> Colour:
    return (round(a[0] + (b[0] - a[0]) * t), round(a[1] + (b[1] - a[1]) * t), round(a[2] + (b[2] - a[2]) * t))


def _palette(colours: tuple[Colour, ...], t: float) -> Colour:
    position = t * (len(colours) - 1)
    i = min(int(position), len(colours) - 2)
    return _mix(colours[i], colours[i + 1], position - i)


def _hue(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(hue * 0.999, saturation, value)
    return (int(255 * r), int(255 * g), int(255 * b))


@dataclass
class _Portrait:
    """One drawing: where things are (all in pixels of the large drawing) and a method for each part."""

    draw: ImageDraw.ImageDraw
    factors: Factors

    def __post_init__(self) -> None:
        f = self.factors
        self.skin = _palette(_SKIN, f["skin"])
        greyness = max(0.0, f["age"] - 0.35) / 0.65
        self.hair = _mix(_palette(_HAIR, f["hair_tone"]), _GREY_HAIR, greyness)
        self.yaw = f["yaw"]
        self.cx, self.cy = _SIDE * 0.5, _SIDE * 0.52
        self.rw, self.rh = _SIDE * 0.26, _SIDE * 0.34  # half width and height of the head
        self.turn = self.yaw * _SIDE * 0.085
        self.fx = self.cx + self.turn  # middle of the face as it turns
        self.squeeze = 1.0 - 0.25 * abs(self.yaw)
        self.eye_y = self.cy - self.rh * 0.10
        self.eye_gap = self.rw * 0.45 * self.squeeze

    def _line(self, points: list[Point], colour: Colour, width: float) -> None:
        self.draw.line(points, fill=colour, width=int(_SIDE * width), joint="curve")

    def back_hair(self) -> None:
        cx, cy, rw, rh, lean = self.cx, self.cy, self.rw, self.rh, self.turn * 0.25
        bottom = cy + rh * (-0.2 + 1.35 * self.factors["hair_length"])
        box = (cx - rw * 1.22 - lean, cy - rh * 1.12, cx + rw * 1.22 - lean, bottom)
        self.draw.rounded_rectangle(box, radius=int(rw * 0.95), fill=_mix(self.hair, _BLACK, 0.2))

    def body(self) -> None:
        cx, cy, rw, rh = self.cx, self.cy, self.rw, self.rh
        self.draw.rectangle((cx - rw * 0.42, cy + rh * 0.6, cx + rw * 0.42, _SIDE), fill=_mix(self.skin, _BLACK, 0.18))
        cloth = _hue((self.factors["background"] + 0.5) % 1.0, 0.45, 0.55)
        self.draw.ellipse((cx - rw * 1.7, cy + rh * 1.12, cx + rw * 1.7, cy + rh * 2.6), fill=cloth)

    def head(self) -> None:
        cx, cy, rw, rh = self.cx, self.cy, self.rw, self.rh
        self.draw.ellipse((cx - rw, cy - rh, cx + rw, cy + rh), fill=self.skin)
        for side in (-1, 1):
            visible = 1.0 - max(0.0, side * self.yaw)
            x = cx + side * rw * 0.98 - self.turn * 0.35
            box = (x - rw * 0.16 * visible, cy - rh * 0.12, x + rw * 0.16 * visible, cy + rh * 0.18)
            self.draw.ellipse(box, fill=_mix(self.skin, _BLACK, 0.1))

    def eyes(self) -> None:
        rw, brow, y = self.rw, self.factors["brow"], self.eye_y
        for side in (-1, 1):
            near = 1.0 + 0.18 * side * self.yaw
            x, w, h = self.fx + side * self.eye_gap, rw * 0.23 * near, rw * 0.145
            self.draw.ellipse((x - w, y - h, x + w, y + h), fill=(250, 250, 250))
            pupil = x + self.yaw * w * 0.4
            self.draw.ellipse((pupil - h * 0.75, y - h * 0.85, pupil + h * 0.75, y + h * 0.85), fill=(45, 35, 30))
            brow_y, tilt = y - rw * 0.30 - brow * rw * 0.06, side * brow * rw * 0.16
            ends: list[Point] = [(x - w * 1.2, brow_y - tilt), (x + w * 1.2, brow_y + tilt)]
            self._line(ends, _mix(self.hair, _BLACK, 0.65), 0.036)

    def nose(self) -> None:
        rw, top, bottom = self.rw, self.eye_y + self.rw * 0.05, self.cy + self.rh * 0.20
        tip = self.fx + self.yaw * rw * 0.38
        shape: list[Point] = [
            (self.fx + self.yaw * rw * 0.1, top),
            (tip - rw * 0.12, bottom),
            (tip + rw * 0.12, bottom),
        ]
        self.draw.polygon(shape, fill=_mix(self.skin, _BLACK, 0.14))

    def wrinkles(self) -> None:
        fx, cy, rw, rh, width = self.fx, self.cy, self.rw, self.rh, int(_SIDE * 0.016)
        line = _mix(self.skin, _WRINKLE, 0.6 * self.factors["age"])
        for row in range(2):
            y = cy - rh * (0.46 + 0.12 * row)
            self.draw.arc(
                (fx - rw * 0.5, y - rh * 0.06, fx + rw * 0.5, y + rh * 0.08), 200, 340, fill=line, width=width
            )
        for side in (-1, 1):
            x, w, h = fx + side * self.eye_gap, rw * 0.28, rw * 0.145
            bag = (x - w, self.eye_y + h * 0.6, x + w, self.eye_y + h * 2.5)
            self.draw.arc(bag, 20, 160, fill=line, width=width)
            fold: list[Point] = [(fx + side * rw * 0.26, cy + rh * 0.20), (fx + side * rw * 0.45, cy + rh * 0.44)]
            self._line(fold, line, 0.016)

    def beard(self) -> None:
        if not self.factors["beard"]:
            return
        cx, cy, rw, rh, lean = self.cx, self.cy, self.rw, self.rh, self.turn * 0.3
        box = (cx - rw * 0.92 + lean, cy - rh * 0.2, cx + rw * 0.92 + lean, cy + rh * 1.02)
        self.draw.pieslice(box, 20, 160, fill=_mix(self.hair, self.skin, 0.15))
        half = rw * 0.42 * self.squeeze
        self.draw.ellipse((self.fx - half, cy + rh * 0.28, self.fx + half, cy + rh * 0.64), fill=self.skin)

    def mouth(self) -> None:
        smile, rw, x0, y0 = self.factors["smile"], self.rw, self.fx, self.cy + self.rh * 0.46
        half = rw * 0.42 * self.squeeze * (1.0 + 0.2 * max(0.0, smile))
        curve, gap = smile * rw * 0.24, self.factors["mouth_open"] * rw * 0.36
        u = np.linspace(-1.0, 1.0, 15)
        x, bow = x0 + u * half, y0 - curve * (u * u - 0.4)
        upper = _points(x, bow - (1 - u * u) * gap * 0.25)
        lower = _points(x, bow + (1 - u * u) * (gap + rw * 0.05))
        self.draw.polygon(upper + lower[::-1], fill=(120, 35, 40))
        if gap > rw * 0.08:
            teeth = _points(x, bow + (1 - u * u) * gap * 0.10)
            self.draw.polygon(upper + teeth[::-1], fill=(245, 240, 235))
        self._line(upper, (170, 70, 70), 0.014)

    def fringe(self) -> None:
        cx, cy, rw, rh, lean = self.cx, self.cy, self.rw, self.rh, self.turn * 0.15
        lift = self.factors["age"] * rh * 0.10  # the hairline recedes with age
        box = (cx - rw * 1.12 - lean, cy - rh * 1.18, cx + rw * 1.12 - lean, cy + rh * 0.55 - 2 * lift)
        self.draw.pieslice(box, 190, 350, fill=self.hair)

    def glasses(self) -> None:
        if not self.factors["glasses"]:
            return
        rw, y, frame, width = self.rw, self.eye_y, (25, 25, 30), int(_SIDE * 0.022)
        for side in (-1, 1):
            x, r = self.fx + side * self.eye_gap, rw * 0.34 * (1.0 + 0.15 * side * self.yaw)
            self.draw.ellipse((x - r, y - rw * 0.29, x + r, y + rw * 0.29), outline=frame, width=width)
        bridge: list[Point] = [(self.fx - self.eye_gap + rw * 0.3, y), (self.fx + self.eye_gap - rw * 0.3, y)]
        self._line(bridge, frame, 0.022)


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[Point]:
    return list(zip(x.tolist(), y.tolist(), strict=True))
