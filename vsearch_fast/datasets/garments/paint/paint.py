"""Pieces to pixels: outlines, cloth, folds, light and shadow, in painter's order.

Painting happens on a canvas twice as large as the picture, light and folds are worked
out at the picture's own size, and edges are drawn four times as large and averaged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ....checks import PixelBox
from ..cloth.colours import Rgb, luma, mixed
from ..cloth.fabric import TEXTURE, Fabric, Tile
from ..curves import Curve
from ..cut.pieces import Button, Fold, Garment, Piece, Seam
from .view import View

F = np.float32
Plane = NDArray[np.float32]
SUPER = 2  # canvas pixels a picture pixel, each way


@dataclass(frozen=True, slots=True)
class Cloth:
    """A tile (3, h, w) of colour and a texture tile, both ``ppc`` pixels a centimetre."""

    tile: Plane
    relief: Tile
    ppc: float
    fabric: Fabric
    thread: Rgb


@dataclass(frozen=True, slots=True)
class Light:
    """Where light comes from: unit direction on the picture (x, y) and its height, 0 to 1.

    ``ambient`` is the share that comes from everywhere.
    """

    x: float
    y: float
    height: float
    ambient: float


@dataclass(frozen=True, slots=True)
class Painted:
    """What lies on the ground, at canvas size: colour (3, h, w) already weighted with
    ``alpha`` (h, w); ``mask`` is the garment's share of alpha, without its hanger."""

    rgb: Plane
    alpha: Plane
    mask: Plane


def paint(
    garment: Garment, cloths: dict[str, Cloth], view: View, light: Light, wrinkles: Plane
) -> Painted:
    """Lay down every piece. ``wrinkles`` is a height field (cm) of the picture's size."""
    width, height = view.width * SUPER, view.height * SUPER
    easel = _Easel(
        np.zeros((3, height, width), F),
        np.zeros((height, width), F),
        np.zeros((height, width), F),
        view,
        light,
        wrinkles,
        _roundness(garment, view),
    )
    for piece in garment.pieces:
        easel.lay(piece, cloths[piece.cloth])
    return Painted(easel.rgb, np.minimum(easel.alpha, F(1)), np.minimum(easel.mask, F(1)))


def silhouette(outline: Curve, box: PixelBox) -> Plane:
    """Coverage (0 to 1) of an outline given in canvas pixels, inside a canvas box."""
    left, top, right, bottom = box
    image = Image.new("L", ((right - left) * 2, (bottom - top) * 2))
    points = (outline - (left, top)) * 2
    ImageDraw.Draw(image).polygon(list(map(tuple, points.tolist())), 255)
    return np.asarray(image.reduce(2), F) * F(1 / 255)


def _roundness(garment: Garment, view: View) -> Plane:
    """The height that the garment's thickness gives it: its outline, filled and blurred."""
    image = Image.new("L", (view.width, view.height))
    draw = ImageDraw.Draw(image)
    for piece in garment.pieces:
        if piece.prop:
            continue
        points = view.to_canvas(piece.outline)
        draw.polygon(list(map(tuple, points.tolist())), 255)
    near = np.asarray(image.filter(ImageFilter.GaussianBlur(view.scale * 0.9)), F)
    far = np.asarray(image.filter(ImageFilter.GaussianBlur(view.scale * 2.6)), F)
    return near * F(0.6 / 255) + far * F(1.1 / 255)


@dataclass(slots=True)
class _Easel:
    rgb: Plane
    alpha: Plane
    mask: Plane
    view: View
    light: Light
    wrinkles: Plane
    round: Plane

    def lay(self, piece: Piece, cloth: Cloth) -> None:
        """Shadow, cloth, seams and buttons of one piece."""
        outline = self.view.to_canvas(piece.outline) * SUPER
        box = self._box(outline, max(piece.lift, piece.soft * 1.2))
        if box is None:
            return
        left, top, right, bottom = box
        at = (slice(top, bottom), slice(left, right))
        cover = silhouette(outline, box)
        if piece.soft:
            cover = _softened(cover, piece.soft * self.view.scale * SUPER)
        self._shadow(cover, piece, at)
        bright, slope_x, slope_y = self._shade(piece, cloth.fabric, cover, box)
        x, y = self.view.to_garment(box, SUPER)
        u, v = piece.frame.to_cloth(x, y)
        # Cloth on a slope is seen foreshortened: the pattern shifts towards the ridge.
        iu = ((u + slope_x * F(0.55)) * F(cloth.ppc)).astype(np.int32)
        iv = ((v + slope_y * F(0.55)) * F(cloth.ppc)).astype(np.int32)
        _, tile_height, tile_width = cloth.tile.shape
        index = (iv % tile_height) * tile_width + iu % tile_width
        bright *= cloth.relief.reshape(-1).take((iv % TEXTURE) * TEXTURE + iu % TEXTURE)
        ink = self._ink(piece, cloth, outline, box)
        bright *= ink.dark
        gloss = np.maximum(bright - F(1.02), F(0)) * F(60 + 500 * cloth.fabric.gloss)
        keep = F(1) - cover
        flat = cloth.tile.reshape(3, -1)
        for channel in range(3):
            colour = flat[channel].take(index) * bright + gloss
            if ink.thread is not None:
                colour += (F(ink.colour[channel]) * bright - colour) * ink.thread
            plane = self.rgb[channel][at]
            plane *= keep
            plane += np.clip(colour, F(0), F(255)) * cover
        self.alpha[at] = self.alpha[at] * keep + cover
        if not piece.prop:
            self.mask[at] = self.mask[at] * keep + cover
        for seam in piece.seams:
            if seam.kind in ("cord", "zip"):
                self._cord(seam)
        for button in piece.buttons:
            self._button(button)

    def _box(self, outline: Curve, reach: float) -> PixelBox | None:
        """Canvas box of an outline with room for shadow and blur, on multiples of 4."""
        room = math.ceil((reach * 2.5 + 0.5) * self.view.scale * SUPER)
        low, high = outline.min(axis=0) - room, outline.max(axis=0) + room
        height, width = self.alpha.shape
        left, top = max(0, int(low[0]) // 4 * 4), max(0, int(low[1]) // 4 * 4)
        right, bottom = (
            min(width, int(high[0]) // 4 * 4 + 4),
            min(height, int(high[1]) // 4 * 4 + 4),
        )
        if right - left < 4 or bottom - top < 4:
            return None
        return left, top, right, bottom

    def _shadow(self, cover: Plane, piece: Piece, at: tuple[slice, slice]) -> None:
        """Darken what lies below, next to the piece and away from the light."""
        if piece.lift <= 0:
            return
        scale = self.view.scale * SUPER
        image = Image.fromarray((cover * F(255)).astype(np.uint8))
        soft = image.filter(ImageFilter.BoxBlur(max(1.0, piece.lift * scale * 0.8)))
        shift = piece.lift * scale * 0.9
        dx, dy = round(-self.light.x * shift), round(-self.light.y * shift)
        shade = np.roll(np.asarray(soft, F), (dy, dx), axis=(0, 1)) * F(-0.62 / 255)
        shade += F(1)
        self.rgb[:, at[0], at[1]] *= shade

    def _shade(
        self, piece: Piece, fabric: Fabric, cover: Plane, box: PixelBox
    ) -> tuple[Plane, Plane, Plane]:
        """Brightness of the piece, and its slope across and down, at canvas size."""
        left, top, right, bottom = (edge // SUPER for edge in box)
        at = (slice(top, bottom), slice(left, right))
        scale = self.view.scale
        small = Image.fromarray((cover * F(255)).astype(np.uint8)).reduce(SUPER)
        edge = np.asarray(small.filter(ImageFilter.GaussianBlur(max(0.8, scale * 0.7))), F)
        relief = edge * F(piece.puff * fabric.puff / 255)
        relief += self.round[at] * F(0.8 * fabric.puff)
        relief += self.wrinkles[at] * F(fabric.wrinkle)
        self._add_folds(piece.folds, fabric, relief, (left, top))
        slope_y, slope_x = np.gradient(relief)
        slope_x *= F(scale)
        slope_y *= F(scale)
        light = self.light
        flat = 1.0 - light.ambient
        facing = F(light.height) - slope_x * F(light.x) - slope_y * F(light.y)
        facing /= np.sqrt(F(1) + slope_x * slope_x + slope_y * slope_y) * F(light.height)
        hollow = np.asarray(_blurred(relief, scale * 1.6), F) - relief
        bright = F(light.ambient) + F(flat) * np.maximum(facing, F(0))
        bright -= np.clip(hollow, F(-0.15), F(0.6)) * F(0.55)
        np.clip(bright, F(0.22), F(1.55), out=bright)
        bright *= F(piece.shade)
        size = (box[2] - box[0], box[3] - box[1])
        return _enlarged(bright, size), _enlarged(slope_x, size), _enlarged(slope_y, size)

    def _add_folds(
        self, folds: list[Fold], fabric: Fabric, relief: Plane, corner: tuple[int, int]
    ) -> None:
        """Add ridges to a height field whose top left picture pixel is ``corner``."""
        height, width = relief.shape
        scale = self.view.scale
        for fold in folds:
            ends = self.view.to_canvas(np.array([fold.start, fold.end])) - corner
            (x0, y0), (x1, y1) = ends.tolist()
            length = math.hypot(x1 - x0, y1 - y0)
            if length < 1.0:
                continue
            first = fold.width * fabric.width * scale
            last = first
            if fold.end_width is not None:
                last = fold.end_width * fabric.width * scale
            reach = max(first, last) * 1.7 + abs(fold.sag) * scale
            left, right = max(0, int(min(x0, x1) - reach)), min(width, int(max(x0, x1) + reach) + 1)
            top, bottom = (
                max(0, int(min(y0, y1) - reach)),
                min(height, int(max(y0, y1) + reach) + 1),
            )
            if right <= left or bottom <= top:
                continue
            px = np.arange(left, right, dtype=F)[None, :] - F(x0)
            py = np.arange(top, bottom, dtype=F)[:, None] - F(y0)
            cx, cy = F((x1 - x0) / length), F((y1 - y0) / length)
            t = (px * cx + py * cy) * F(1 / length)
            away = py * cx - px * cy - F(4 * fold.sag * scale) * t * (F(1) - t)
            t = np.clip(t, F(0), F(1))
            # One flank is steeper than the other, as where cloth leans over.
            away *= np.where(away > 0, F(1.35), F(0.75))
            away /= F(first) + F(last - first) * t
            ridge = np.maximum(F(1) - away * away, F(0))
            taper = np.minimum(t * F(2.8), F(1))
            if not fold.open_end:
                taper = taper * np.minimum((F(1) - t) * F(2.8), F(1))
            taper = taper * taper * (F(3) - F(2) * taper)
            relief[top:bottom, left:right] += ridge * ridge * taper * F(fold.height * fabric.fold)

    def _ink(self, piece: Piece, cloth: Cloth, outline: Curve, box: PixelBox) -> _Ink:
        """Seams as darkness and stitches as thread, for the canvas box."""
        size = (box[2] - box[0], box[3] - box[1])
        scale = self.view.scale * SUPER
        dark = Image.new("L", size)
        pen = ImageDraw.Draw(dark)
        closed = outline - (box[0], box[1])
        if not piece.soft:
            # Where cloth turns under, a thin line is dark even in flat light.
            pen.line([*map(tuple, closed.tolist()), tuple(closed[0].tolist())], 56, 2)
        thread: Image.Image | None = None
        colour = cloth.thread
        for seam in piece.seams:
            points = self.view.to_canvas(seam.points) * SUPER - (box[0], box[1])
            thick = max(1, round(seam.width * scale))
            if seam.kind == "seam":
                pen.line(list(map(tuple, points.tolist())), 92, thick, "curve")
            elif seam.kind == "stitch":
                pen.line(list(map(tuple, points.tolist())), 42, thick + 1)
                thread = thread or Image.new("L", size)
                colour = seam.colour or colour
                _dashes(ImageDraw.Draw(thread), points, 0.55 * scale, max(1, round(scale * 0.2)))
        darkness = F(1) - np.asarray(dark, F) * F(1 / 255)
        if thread is None:
            return _Ink(darkness, None, colour)
        return _Ink(darkness, np.asarray(thread, F) * F(1 / 255), colour)

    def _cord(self, seam: Seam) -> None:
        """A drawstring or a zip's teeth, over everything laid so far."""
        points = self.view.to_canvas(seam.points) * SUPER
        scale = self.view.scale * SUPER
        thick = max(2, round(seam.width * scale))
        low = np.maximum(points.min(axis=0) - thick - 4, 0).astype(int)
        high = np.minimum(points.max(axis=0) + thick + 5, self.alpha.shape[::-1]).astype(int)
        if (high <= low).any():
            return
        at = (slice(low[1], high[1]), slice(low[0], high[0]))
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        path = points - low
        colour = seam.colour or (200.0, 200.0, 200.0)
        shade, line, shine = (Image.new("L", size) for _ in range(3))
        shift = (-self.light.x * thick * 0.5, -self.light.y * thick * 0.5)
        ImageDraw.Draw(shade).line(list(map(tuple, (path + shift).tolist())), 130, thick, "curve")
        ImageDraw.Draw(line).line(list(map(tuple, path.tolist())), 255, thick, "curve")
        pen = ImageDraw.Draw(shine)
        if seam.kind == "zip":
            _dashes(pen, path, max(1.5, 0.45 * scale), max(1, thick - 2))
        else:
            pen.line(list(map(tuple, (path - shift).tolist())), 120, max(1, thick // 3))
        inside = self.alpha[at]
        area = self.rgb[:, at[0], at[1]]
        area *= F(1) - np.asarray(shade, F) * F(1 / 255)
        mask = np.asarray(line, F) * F(1 / 255) * inside
        glow = np.asarray(shine, F) * F(1 / 255) * mask
        light = mixed(colour, (255.0, 255.0, 255.0), 0.4)
        for channel in range(3):
            area[channel] += (F(colour[channel]) - area[channel]) * mask
            area[channel] += (F(light[channel]) - area[channel]) * glow

    def _button(self, button: Button) -> None:
        """A round button with its rim, holes, shadow and glint."""
        scale = self.view.scale * SUPER
        radius = max(1.6, button.radius * scale)
        x, y = (self.view.to_canvas(np.array([(button.x, button.y)]))[0] * SUPER).tolist()
        reach = int(radius * 2) + 2
        left, top = max(0, int(x) - reach), max(0, int(y) - reach)
        height, width = self.alpha.shape
        right, bottom = min(width, int(x) + reach), min(height, int(y) + reach)
        if right <= left or bottom <= top:
            return
        px = np.arange(left, right, dtype=F)[None, :] + F(0.5 - x)
        py = np.arange(top, bottom, dtype=F)[:, None] + F(0.5 - y)
        away = np.sqrt(px * px + py * py)
        cast = np.sqrt(
            (px + F(self.light.x * radius * 0.45)) ** 2
            + (py + F(self.light.y * radius * 0.45)) ** 2
        )
        inside = self.alpha[top:bottom, left:right]
        area = self.rgb[:, top:bottom, left:right]
        area *= F(1) - np.clip(F(radius * 1.15) - cast, F(0), F(1)) * F(0.45)
        cover = np.clip(F(radius) - away + F(0.5), F(0), F(1)) * inside
        tone = F(1) + (px * F(self.light.x) + py * F(self.light.y)) * F(0.28 / radius)
        tone = tone - np.clip(F(1) - np.abs(away - F(radius * 0.72)), F(0), F(1)) * F(0.16)
        if button.holes and radius > 2.6:
            hole = np.abs(np.abs(px) - F(radius * 0.27)) + np.abs(np.abs(py) - F(radius * 0.27))
            tone = tone - np.clip(F(radius * 0.3) - hole, F(0), F(1)) * F(0.45)
        for channel in range(3):
            target = np.clip(F(button.colour[channel]) * tone, F(0), F(255))
            area[channel] += (target * inside - area[channel]) * cover


@dataclass(frozen=True, slots=True)
class _Ink:
    dark: Plane
    thread: Plane | None
    colour: Rgb


def thread_for(colour: Rgb) -> Rgb:
    """A thread that shows on cloth of this colour, but not loudly."""
    goal = (235.0, 235.0, 230.0) if luma(colour) < 120 else (70.0, 68.0, 66.0)
    return mixed(colour, goal, 0.34)


def _dashes(pen: ImageDraw.ImageDraw, points: Curve, dash: float, width: int) -> None:
    """Draw every other ``dash`` pixels of a path."""
    step = np.hypot(*(points[1:] - points[:-1]).T)
    along = np.concatenate([[0.0], np.cumsum(step)])
    stops = np.arange(0.0, along[-1], max(dash, 1.5))
    x, y = np.interp(stops, along, points[:, 0]), np.interp(stops, along, points[:, 1])
    for i in range(0, len(stops) - 1, 2):
        pen.line([(x[i], y[i]), (x[i + 1], y[i + 1])], 255, width)


def _softened(cover: Plane, radius: float) -> Plane:
    image = Image.fromarray((cover * F(255)).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), F) / F(255)


def _blurred(field: Plane, radius: float) -> Image.Image:
    """A cheap blur of a float field: down by a factor and up again with smooth weights."""
    image = Image.fromarray(field)
    factor = max(2, round(radius))
    small = (max(1, image.width // factor), max(1, image.height // factor))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)


def _enlarged(field: Plane, size: tuple[int, int]) -> Plane:
    return np.array(Image.fromarray(field).resize(size, Image.Resampling.BILINEAR), F)
