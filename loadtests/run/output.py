"""The three files of a load test. They replace those of an earlier test only when all of them are complete."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.run.report import render
from loadtests.run.samples import Sample, write_samples

SUMMARY, SAMPLES, REPORT = "load_summary.json", "load_samples.csv", "load_report.html"


def write_results(folder: Path, summary: dict[str, Any], samples: Sequence[Sample]) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".draft-") as name:
        draft = Path(name)
        (draft / SUMMARY).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        with (draft / SAMPLES).open("w", encoding="utf-8", newline="") as file:
            write_samples(samples, file)
        (draft / REPORT).write_text(render(summary, samples), encoding="utf-8")
        for file_name in (SAMPLES, REPORT, SUMMARY):
            (draft / file_name).replace(folder / file_name)
