"""What verification found: as a table, as JSON, as Markdown."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kmrcnn.data.files import written_aside
from kmrcnn.export.comparison import Comparison

JSON_NAME, MARKDOWN_NAME = "verification.json", "verification.md"


@dataclass
class Latency:
    """Seconds per picture on the network's canvas, of both sides."""

    keras: list[float] = field(default_factory=list)
    artefact: list[float] = field(default_factory=list)

    def add(self, keras: float, artefact: float) -> None:
        """Takes the times of one picture."""
        self.keras.append(keras)
        self.artefact.append(artefact)

    def figures(self) -> dict[str, float]:
        """Medians in milliseconds, and their ratio."""
        keras, artefact = statistics.median(self.keras), statistics.median(self.artefact)
        return {"keras_ms": 1e3 * keras, "artefact_ms": 1e3 * artefact, "ratio": artefact / keras}


@dataclass(frozen=True, eq=False)
class VerificationReport:
    """Figures of one artefact; ``print(report)`` shows them as tables.

    Attributes:
        metadata: Of the artefact.
        comparison: Canvas to detections, artefact against Keras model.
        files: Encoded pictures to detections, artefact against `Predictor`; None where it takes
            none.
        average_precisions: {"box_ap": {"keras", "artefact", "delta"}, ...}; None without
            annotations.
        latency: Of both sides.
        megabytes: Size of the artefact's files.
    """

    metadata: dict[str, Any]
    comparison: Comparison
    files: Comparison | None
    average_precisions: dict[str, dict[str, float]] | None
    latency: Latency
    megabytes: float

    @property
    def passed(self) -> bool:
        """Whether everything is within the tolerance."""
        return not self.failures()

    def failures(self) -> list[str]:
        """What is beyond the tolerance, in words."""
        failures = self.comparison.failures()
        if self.files is not None:
            failures += [f"from files, {failure}" for failure in self.files.failures()]
        limit = self.comparison.tolerance.ap
        for name in ("box_ap", "mask_ap"):
            delta = (self.average_precisions or {}).get(name, {}).get("delta", math.nan)
            if abs(delta) > limit:
                failures.append(f"{name}: differs by {delta:+.4f}, must be within {limit:g}")
        return failures

    def to_dict(self) -> dict[str, Any]:
        """All figures; undefined ones are None."""
        names = ("format", "precision", "model", "kmrcnn_version", "weights_sha256")
        figures = {name: self.metadata[name] for name in names} | {
            "image_size": self.metadata.get("image_size"),
            "passed": self.passed,
            "failures": self.failures(),
            "tolerance": dataclasses.asdict(self.comparison.tolerance),
            "comparison": self.comparison.to_dict(),
            "files": None if self.files is None else self.files.to_dict(),
            "average_precisions": self.average_precisions,
            "latency": self.latency.figures(),
            "megabytes": self.megabytes,
        }
        return _without_nan(figures)

    def write(self, folder: str | Path) -> None:
        """Writes verification.json and verification.md into a folder."""
        with written_aside(Path(folder) / JSON_NAME) as aside:
            aside.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        with written_aside(Path(folder) / MARKDOWN_NAME) as aside:
            aside.write_text(self.to_markdown(), encoding="utf-8")

    def __str__(self) -> str:
        return "\n".join([self._title(), *_aligned(self._rows()), self._verdict()])

    def to_markdown(self) -> str:
        """Title, table and verdict."""
        rows = [f"| {' | '.join(row)} |" for row in self._rows()]
        rows.insert(1, "|" + "---|" * len(self._rows()[0]))
        explanation = (
            "Detections are paired by class and overlap; boxes in pixels of the pictures; mask "
            "pixels inside the boxes. Latency: median per picture on the network's canvas."
        )
        parts = [f"# {self._title()}", "\n".join(rows), self._verdict(), explanation]
        return "\n\n".join(parts) + "\n"

    def _title(self) -> str:
        size = self.metadata.get("image_size")
        canvas = "any size" if size is None else f"{size[0]} x {size[1]}"
        return (
            f"{self.metadata['model']}, {self.metadata['format']} {self.metadata['precision']}, "
            f"{canvas}: {self.comparison.num_pictures} pictures, "
            f"{self.comparison.num_reference} detections"
        )

    def _verdict(self) -> str:
        if self.passed:
            return "Within the tolerance."
        return "BEYOND THE TOLERANCE:\n" + "\n".join(f"- {line}" for line in self.failures())

    def _rows(self) -> list[tuple[str, str, str]]:
        """Name, value, limit."""
        rows = [("", "measured", "tolerance"), *_comparison_rows(self.comparison)]
        if self.files is not None:
            rows += [(f"from files, {row[0]}", *row[1:]) for row in _comparison_rows(self.files)]
        limit = self.comparison.tolerance.ap
        for name, ap in (self.average_precisions or {}).items():
            figures = f"{ap['keras']:.4f} -> {ap['artefact']:.4f} ({ap['delta']:+.4f})"
            rows.append((name, figures, f"{limit:g}" if name in ("box_ap", "mask_ap") else ""))
        time = self.latency.figures()
        both = f"{time['keras_ms']:.1f} -> {time['artefact_ms']:.1f} (x {time['ratio']:.2f})"
        rows.append(("latency, ms", both, ""))
        rows.append(("size, MB", f"{self.megabytes:.1f}", ""))
        return rows


def _comparison_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    limits, share = comparison.tolerance, comparison.tolerance.share
    gone = f"{comparison.matched:.4f} ({comparison.missing} missing, {comparison.extra} extra)"
    rows = [
        ("matched detections", gone, f"{limits.matched:g}"),
        _difference_row("box difference, px", comparison.box_difference, share, limits.box_px),
        _difference_row("score difference", comparison.score_difference, share, limits.score),
    ]
    if not math.isnan(comparison.mask_pixels):
        pixels = f"{comparison.mask_pixels:.6f}"
        rows.append(("equal mask pixels", pixels, f"{limits.mask_pixels:g}"))
    if not math.isnan(comparison.keypoints):
        rows.append(("equal keypoints", f"{comparison.keypoints:.6f}", f"{limits.keypoints:g}"))
    return rows


def _difference_row(name, difference, share: float, limit: float) -> tuple[str, str, str]:
    """The greatest difference, and that of the share which has the limit where it is not all."""
    most = f"{difference():.2g}"
    if share == 1.0:
        return name, most, f"{limit:g}"
    return name, f"{most} ({share:.0%}: {difference(share):.2g})", f"{share:.0%}: {limit:g}"


def _aligned(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        f"  {a.ljust(widths[0])}  {b.rjust(widths[1])}  {c.rjust(widths[2])}".rstrip()
        for a, b, c in rows
    ]


def _without_nan(value: Any) -> Any:
    """NaN, which JSON does not know, becomes None."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
