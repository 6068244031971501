"""A picture of a job's losses without a plotting library: notebooks show it, files and browsers take its SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 260, 56, 28, 10, 24
_SERIES = (("train_loss", "#0969da", "training"), ("validation_loss", "#bc4c00", "validation"), ("test_loss", "#6639ba", "test"))
_TICKS = 4


class LossCurve:
    """`metrics` as of Client.metrics. What is not finite is left out."""

    def __init__(self, metrics: Sequence[Mapping[str, Any]], title: str = ""):
        self.metrics = list(metrics)
        self.title = title

    def points(self, key: str) -> list[tuple[int, float]]:
        return [(row["step"], row[key]) for row in self.metrics if key in row and math.isfinite(row[key])]

    def svg(self) -> str:
        curves = [(self.points(key), colour, name) for key, colour, name in _SERIES]
        losses = [loss for points, _, _ in curves for _, loss in points]
        if not losses:
            return self._document('<text x="56" y="60">No step has been measured yet.</text>')
        steps = max(1, *(step for points, _, _ in curves for step, _ in points))
        margin = 0.05 * (max(losses) - min(losses)) or 0.05 * abs(max(losses)) + 0.01
        low, high = min(losses) - margin, max(losses) + margin

        def x(step: float) -> float:
            return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / steps

        def y(loss: float) -> float:
            return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - loss) / (high - low)

        parts = []
        for tick in range(_TICKS + 1):
            loss, step = low + (high - low) * tick / _TICKS, round(steps * tick / _TICKS)
            parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" stroke="#8884"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.3g}</text>')
            parts.append(f'<text x="{x(step):.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{step}</text>')
        for i, (points, colour, name) in enumerate(curves):
            if not points:
                continue
            path = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.75"/>')
            if name != "training":
                parts += [f'<circle cx="{x(s):.1f}" cy="{y(v):.1f}" r="3" fill="{colour}"/>' for s, v in points]
            parts.append(f'<text x="{_WIDTH - 220 + 75 * i}" y="16" style="fill:{colour}">{name}</text>')
        return self._document("".join(parts))

    def save(self, path: str | Path) -> Path:
        Path(path).write_text(self.svg(), encoding="utf-8")
        return Path(path)

    def _repr_svg_(self) -> str:
        return self.svg()

    def _document(self, body: str) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img">'
            f"<title>Loss of {escape(self.title)} by step</title><style>text{{font:11px sans-serif;fill:#808890}}</style>"
            f'<text x="{_LEFT}" y="16">{escape(self.title)}</text>{body}</svg>'
        )
