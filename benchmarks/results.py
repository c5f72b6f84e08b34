"""A run as JSON: figures with their rounds, ratios with their goals, the machine, and whether it was quiet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.ratios import values_of
from benchmarks.runner import Run

VERSION = 1


class NoResults(Exception):
    """A file that does not hold the results of a run; the message says why."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What comparing needs of an earlier run."""

    ratios: Mapping[str, float]
    is_quiet: bool
    commit: str


def as_json(run: Run, *, suite: str, machine: Mapping[str, object], now: datetime | None = None) -> dict[str, object]:
    """Everything that is known of a run."""
    medians, ratios = run.medians, values_of(run.medians, run.ratios)
    return {
        "version": VERSION,
        "suite": suite,
        "time": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "quiet": run.is_quiet,
        "machine": machine,
        "figures": {
            figure.key: {
                "name": figure.name,
                "unit": figure.unit,
                "median": medians[figure.key],
                "rounds": run.values[figure.key],
                "quiet": run.was_quiet(measurement.name),
            }
            for measurement in run.measurements
            for figure in measurement.figures
            if figure.key in medians
        },
        "ratios": {
            ratio.key: {
                "name": ratio.name,
                "value": ratios[ratio.key],
                "goal": str(ratio.goal) if ratio.goal else None,
                "holds": ratio.goal.holds(ratios[ratio.key]) if ratio.goal else None,
            }
            for ratio in run.ratios
            if ratio.key in ratios
        },
        "measurements": {
            one.name: {"how": one.how, "others_busy": run.busy[one.name]}
            for one in run.measurements
            if one.name in run.busy
        },
        "not_measured": run.not_measured,
    }


def write(path: Path, results: Mapping[str, object]) -> None:
    """Keep them in a file, which takes the place of an earlier one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> Earlier:
    """What an earlier run came to. Raises NoResults."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["version"] != VERSION:
            raise NoResults(f"{path} has version {found['version']}, not {VERSION}")
        ratios = {str(key): float(ratio["value"]) for key, ratio in found["ratios"].items()}
        return Earlier(ratios, bool(found["quiet"]), str(found["machine"]["commit"]))
    except OSError as error:
        raise NoResults(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoResults(f"{path} is not what --json writes") from error
