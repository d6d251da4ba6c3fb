"""What `kmrcnn export` does: one format and precision after the other."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmrcnn.export import metadata
from kmrcnn.export.exporter import export, require_free
from kmrcnn.export.formats import FORMATS
from kmrcnn.export.verify import verify

_NEEDS_CALIBRATION = "int8 takes its ranges from pictures: --calibration DIR"


@dataclass(frozen=True)
class Job:
    """One artefact to make."""

    format: str
    precision: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.format} {self.precision}"


def planned(args: argparse.Namespace) -> list[Job]:
    """The artefacts that the arguments ask for.

    Raises:
        ValueError: A format has not that precision.
        FileExistsError: See `require_free`; found before anything is computed.
    """
    formats = list(FORMATS) if args.format == "all" else [args.format]
    wanted = args.precision or ([] if args.format == "all" else ["float32"])
    _require_precisions(formats, wanted)
    pairs = [
        (name, precision)
        for name in formats
        for precision in FORMATS[name].precisions
        if precision in wanted or not wanted
    ]
    single = args.format != "all" and len(pairs) == 1
    jobs = [
        Job(name, precision, args.output if single else args.output / f"{name}-{precision}")
        for name, precision in pairs
    ]
    if args.format != "all" and "int8" in wanted and args.calibration is None:
        raise ValueError(_NEEDS_CALIBRATION)
    for job in jobs:
        require_free(job.folder, args.overwrite)
    return jobs


class ExportRun:
    """Makes artefacts and keeps count.

    With several, one that cannot be had here is named and left out; one alone is an error.

    Args:
        model: The model.
        args: Of the command line.
    """

    def __init__(self, model: Any, args: argparse.Namespace):
        self.model = model
        self.args = args
        self.skipped: list[str] = []
        self.failed: list[str] = []
        self.unverified: list[str] = []
        self.beyond: list[str] = []
        self.num_written = 0

    def run(self, jobs: list[Job]) -> int:
        """Makes them all; returns the exit code."""
        for number, job in enumerate(jobs, 1):
            print(f"[{number}/{len(jobs)}] {job} -> {job.folder}", flush=True)
            self._try(job, alone=len(jobs) == 1)
        for title, lines in (
            ("not written", self.skipped),
            ("failed", self.failed),
            ("not verified", self.unverified),
            ("beyond the tolerance", self.beyond),
        ):
            for line in lines:
                print(f"{title}: {line}", file=sys.stderr)
        if not self.num_written:
            return 2
        alone_unverified = len(jobs) == 1 and self.unverified
        return 1 if self.failed or self.beyond or alone_unverified else 0

    def _try(self, job: Job, alone: bool) -> None:
        if job.precision == "int8" and self.args.calibration is None:  # asked for "all"
            self.skipped.append(f"{job}: {_NEEDS_CALIBRATION}")
            return
        try:
            self._do(job)
        except (ImportError, ValueError) as error:
            if alone:
                raise
            lines = self.skipped if isinstance(error, ImportError) else self.failed
            lines.append(f"{job}: {error}")
        except RuntimeError as error:
            self.failed.append(f"{job}: {error}")

    def _do(self, job: Job) -> None:
        start = time.perf_counter()
        export(
            self.model,
            job.folder,
            format=job.format,
            precision=job.precision,
            overwrite=self.args.overwrite,
            **self._options(job),
        )
        self.num_written += 1
        size = sum(path.stat().st_size for path in job.folder.rglob("*") if path.is_file())
        seconds = time.perf_counter() - start
        print(f"written: {job.folder} ({size / 1e6:.1f} MB, {seconds:.0f} s)", flush=True)
        if self.args.verify:
            self._verify(job)

    def _options(self, job: Job) -> dict[str, Any]:
        args = self.args
        options = {
            "image_size": None if args.image_size is None else tuple(args.image_size),
            "batch_size": args.batch_size,
            "score_threshold": args.score_threshold,
            "nms_threshold": args.nms_threshold,
            "max_detections": args.max_detections,
            "paste_masks": args.paste_masks,
            "custom_op": args.custom_op,
            "version": args.model_version,
            "calibration_images": args.calibration if job.precision == "int8" else None,
        }
        if args.format != "all":
            return options
        foreign = set(_foreign_options(job.format))
        return {name: value for name, value in options.items() if name not in foreign}

    def _verify(self, job: Job) -> None:
        args = self.args
        missing = metadata.read(job.folder).get("engine_missing")
        if missing:
            self.unverified.append(f"{job}: {missing}")
            return
        report = verify(job.folder, self.model, args.images, args.annotations, limit=args.limit)
        print(report, flush=True)
        if not report.passed:
            self.beyond.append(f"{job}: {'; '.join(report.failures())}")


def _require_precisions(formats: list[str], wanted: list[str]) -> None:
    known = dict.fromkeys(precision for name in formats for precision in FORMATS[name].precisions)
    unknown = [precision for precision in wanted if precision not in known]
    if unknown:
        raise ValueError(f"--precision must be of {', '.join(known)}. Received: {unknown[0]}")


def _foreign_options(format: str) -> Iterator[str]:
    """Options that do not go with a format; of all formats together they are for the others."""
    if format != "saved_model":
        yield from ("paste_masks", "custom_op", "version")
    if not FORMATS[format].fixed_size:
        yield "image_size"
    if format not in ("onnx", "tensorrt"):
        yield "batch_size"
