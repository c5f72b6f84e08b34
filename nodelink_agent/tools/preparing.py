"""Lays out what a tool needs in an attempt's own directory, and the order for the step. Blocks: for a thread."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

from nodelink.errors import FieldError, InvalidTask
from nodelink.plan_payload import Archive, PlanPayload
from nodelink_agent.tools.runner import Runner, ToolFiles
from nodelink_agent.tools.step import Order

ARCHIVE = "source.tar"
"""Where the archive is to be, in the step's directory, if the payload names one."""
MAX_UNPACKED_BYTES = 1024**3
"""What the files of an archive may have together: a small archive can be very large inside."""


def prepare(directory: Path, runner: Runner, payload: PlanPayload, *, program: str, applies: bool) -> ToolFiles:
    """Lay out a step in its directory, which is there. InvalidTask: the archive is not right. OSError: the disk."""
    files = _files(directory, payload)
    program = str(Path(program).absolute())  # the step runs elsewhere
    for path in (files.source, files.scratch):
        shutil.rmtree(path, ignore_errors=True)  # of a try that was broken off
        path.mkdir(mode=0o700)
    if isinstance(payload.source, Archive):
        _unpack(directory / ARCHIVE, files)
    else:
        files.playbook.write_text(payload.source, encoding="utf-8")
    if not (isinstance(payload.source, Archive) and payload.source.inventory):
        _write_privately(files.inventory, payload.inventory or runner.default_inventory)
    _write_privately(files.variables, json.dumps(payload.variables))
    Order(
        tool=runner.name,
        inputs=payload.inputs(),
        check=[program, *runner.check(payload, files)],
        apply=[program, *runner.apply(payload, files)] if applies else [],
        secrets=[str(files.variables)],
    ).write(directory)
    return files


def _files(directory: Path, payload: PlanPayload) -> ToolFiles:
    source = directory / "source"
    archive = payload.source if isinstance(payload.source, Archive) else None
    return ToolFiles(
        source=source,
        playbook=source / (archive.playbook if archive else "playbook.yml"),
        inventory=source / archive.inventory if archive and archive.inventory else directory / "inventory",
        variables=directory / "variables.json",
        scratch=directory / "scratch",
    )


def _unpack(archive: Path, files: ToolFiles) -> None:
    """Unpack it into the source directory, and nowhere else."""
    try:
        with tarfile.open(archive) as tar:
            if sum(member.size for member in tar) > MAX_UNPACKED_BYTES:
                raise InvalidTask(FieldError("source.sha256", f"must hold at most {MAX_UNPACKED_BYTES} bytes of files"))
            tar.extractall(files.source, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise InvalidTask(FieldError("source.sha256", f"must be a tar of files within it: {error}")) from error
    finally:
        archive.unlink(missing_ok=True)
    for field, path in (("source.playbook", files.playbook), ("source.inventory", files.inventory)):
        within = path.resolve().is_relative_to(files.source.resolve())
        if path.is_relative_to(files.source) and not (within and path.exists()):
            raise InvalidTask(FieldError(field, "must be the path of a file within the archive: there is none"))


def _write_privately(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
