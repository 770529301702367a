"""Where the labels of a scatter plot go, so that each is read beside its own point; in pixels, upwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Final

Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in pixels."""
Place = tuple[float, float]
LABEL_COST, LINE_COST = 20.0, 3.0
"""What it costs to cover a pixel of a marker or label, and of a line."""
_SWEEPS: Final = 6
"""Over all labels, until each has found its place beside the others."""


def place_labels(
    points: Sequence[Place], sizes: Sequence[Place], *, room: Box, obstacles: Sequence[tuple[Box, float]]
) -> list[Box]:
    """Finds a box for each point's label that covers little and lies near.

    Args:
        points: what the labels belong to.
        sizes: width and height of each label.
        room: what labels should not stick out of.
        obstacles: what they should not cover, with the cost of a covered pixel.
    """
    boxes: list[Box] = [(x, y, x, y) for x, y in points]
    for _ in range(_SWEEPS):  # the first ones to choose did not know where the others would go
        for index, (point, size) in enumerate(zip(points, sizes, strict=True)):
            others = [(box, p) for box, p in zip(boxes, points, strict=True) if p is not point]
            boxes[index] = min(
                _places(point, size),
                key=lambda box, point=point, others=others: _cost(box, point, room, obstacles, others),  # type: ignore[misc]
            )
    return boxes


def _places(point: Place, size: Place) -> list[Box]:
    """Where a label can lie: all around its point, near and further away."""
    found = []
    for gap, step in product((16, 30, 46, 64, 84, 106, 130), range(16)):
        x = point[0] + math.cos(step * math.pi / 8) * (gap + size[0] / 2)
        y = point[1] + math.sin(step * math.pi / 8) * (gap + size[1] / 2)
        found.append((x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2))
    return found


def _cost(
    box: Box,
    point: Place,
    room: Box,
    obstacles: Sequence[tuple[Box, float]],
    others: Sequence[tuple[Box, Place]],
) -> float:
    """What is covered, by weight, and the way from the point; for lines to labels, too."""
    leader = _leader(box, point)
    cost = 12.0 * math.dist(leader[0], leader[-1]) + sum(weight * _overlap(box, other) for other, weight in obstacles)
    cost += 200.0 * ((box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, room))
    for other, centre in others:
        theirs = _leader(other, centre)
        struck = sum(_holds(other, place) for place in leader) + sum(_holds(box, place) for place in theirs)
        cost += 3 * LABEL_COST * _overlap(box, other) + 1500.0 * (struck + _cross(leader, theirs))
    return cost


def _leader(box: Box, point: Place) -> list[Place]:
    """Places along the line from a point to where its label begins."""
    x, y = min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3])
    return [(point[0] + (x - point[0]) * part / 6, point[1] + (y - point[1]) * part / 6) for part in range(7)]


def _cross(one: Sequence[Place], other: Sequence[Place]) -> bool:
    """Whether two lines cross: each has the other's ends on its two sides."""

    def side(line: Sequence[Place], place: Place) -> float:
        (x, y), (end_x, end_y) = line[0], line[-1]
        return (end_x - x) * (place[1] - y) - (end_y - y) * (place[0] - x)

    return all(side(a, b[0]) * side(a, b[-1]) < 0 for a, b in ((one, other), (other, one)))


def _holds(box: Box, place: Place) -> bool:
    return box[0] <= place[0] <= box[2] and box[1] <= place[1] <= box[3]


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
