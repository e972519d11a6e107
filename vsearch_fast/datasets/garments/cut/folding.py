"""A sleeve turned back at the elbow, so that the forearm lies over the body."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..curves import Curve, Frame, Point
from .pieces import Piece


def turned_back(
    pieces: list[Piece], elbow: Point, arm: float, forearm: float, along: float
) -> list[Piece]:
    """Fold pieces at a line through ``elbow`` and lay what is beyond it on top.

    Args:
        pieces: an arm's, in order; each is cut at the line.
        elbow: garment coordinates of the fold's middle.
        arm, forearm: directions (radians from straight down, towards +x) of the arm and
            of its turned part.
        along: distance (cm) from the arm's origin to the elbow, for the pattern.

    Returns:
        What stays, then what is turned over, marked ``over``: it goes on top of the body.
    """
    way = np.array([math.sin(arm), math.cos(arm)])
    back = np.array([math.sin(forearm), math.cos(forearm)])
    normal = (way - back) / np.hypot(*(way - back))

    def beyond(points: Curve) -> Curve:
        return (points[:, 0] - elbow[0]) * normal[0] + (points[:, 1] - elbow[1]) * normal[1]

    def mirror(points: Curve) -> Curve:
        return points - 2.0 * beyond(points)[:, None] * normal

    def stays(points: Curve) -> Curve:
        return points

    lie = Frame(elbow[0] - along * back[0], elbow[1] - along * back[1], forearm)
    below: list[Piece] = []
    above: list[Piece] = []
    for piece in pieces:
        depth = beyond(piece.outline)
        for side, place, goes in ((-1.0, stays, below), (1.0, mirror, above)):
            outline = _cut(piece.outline, side * depth)
            if len(outline) < 3:
                continue
            part = replace(piece, outline=place(outline))
            part.folds = []
            for fold in piece.folds:
                ends = np.array([fold.start, fold.end])
                if side * beyond(ends).mean() > 0:
                    (x0, y0), (x1, y1) = place(ends).tolist()
                    part.folds.append(replace(fold, start=(x0, y0), end=(x1, y1)))
            part.seams = [
                replace(seam, points=place(seam.points))
                for seam in piece.seams
                if side * beyond(seam.points).mean() > 0
            ]
            if goes is above:
                # Buttons are on the outside, which now faces down.
                part.frame, part.lift, part.over, part.buttons = lie, 0.9, True, []
            goes.append(part)
    # What lay on top of the forearm is under it now.
    return below + above[::-1]


def _cut(outline: Curve, depth: Curve) -> Curve:
    """The part of a closed outline where ``depth`` (one number a point) is not negative."""
    points = []
    for place in range(len(outline)):
        here, there = depth[place - 1], depth[place]
        if (here < 0) != (there < 0):
            share = here / (here - there)
            points.append(outline[place - 1] + share * (outline[place] - outline[place - 1]))
        if there >= 0:
            points.append(outline[place])
    return np.array(points).reshape(-1, 2)
