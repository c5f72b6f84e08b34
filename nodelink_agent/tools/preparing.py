"""Lays out what a tool needs in an attempt's own directory, and the order for the step. Blocks: for a thread."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from nodelink.errors import FieldError, InvalidTask
from nodelink.plan_payload import Archive, PlanPayload
from nodelink_agent.tools.base_state import BaseState
from nodelink_agent.tools.order import Order
from nodelink_agent.tools.runner import Runner, ToolFiles, Words
from nodelink_agent.tools.unpacking import unpack

ARCHIVE = "source.tar"
"""Where the archive is to be, in the step's directory, if the payload names one."""
MAX_UNPACKED_BYTES = 1024**3
"""What the files of an archive may have together: a small archive can be very large inside."""


def prepare(
    directory: Path,
    runner: Runner,
    payload: PlanPayload,
    *,
    program: str,
    applies: bool,
    inputs: Mapping[str, str] | None = None,
    base: BaseState | None = None,
) -> ToolFiles:
    """Lay out a step in its directory, which is there. InvalidTask: the archive is not right. OSError: the disk.

    `inputs`: other digests than those of the payload; `base`: the state from which a tool begins that has one.
    """
    files = _files(directory, runner, payload)
    for path in (files.source, files.scratch):
        shutil.rmtree(path, ignore_errors=True)  # of a try that was broken off
        path.mkdir(mode=0o700)
    _lay_out_source(directory, runner, payload, files)
    write_privately(files.variables, json.dumps(payload.variables))
    write_privately(files.settings, "")
    if base is not None:
        base.lay_out(files.state)
        base.note(directory, files.state)
    own_plan = [str(files.plan)] if runner.show is not None else []
    program = str(Path(program).absolute())  # the step runs elsewhere
    Order(
        tool=runner.name,
        inputs=payload.inputs() if inputs is None else inputs,
        check=[program, *runner.check(payload, files)],
        apply=[program, *runner.apply(payload, files)] if applies else [],
        secrets=[str(files.variables), *own_plan],
        file="".join(own_plan),
        init=_command(program, runner.init, payload, files),
        show=_command(program, runner.show, payload, files),
        target=base.workspace if base is not None else "",
        state=base.sha256 if base is not None else "",
    ).write(directory)
    return files


def write_privately(path: Path, text: str) -> None:
    """Have a text in a file that nobody but the agent's user may read, not even for a moment."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _command(program: str, words: Words | None, payload: PlanPayload, files: ToolFiles) -> Sequence[str]:
    return [program, *words(payload, files)] if words is not None else []


def _files(directory: Path, runner: Runner, payload: PlanPayload) -> ToolFiles:
    source = directory / "source"
    archive = payload.source if isinstance(payload.source, Archive) else None
    return ToolFiles(
        source=source,
        place=source / archive.directory if archive else source,
        main=source / (archive.playbook if archive else runner.text_name),
        inventory=source / archive.inventory if archive and archive.inventory else directory / "inventory",
        variables=directory / "variables.json",
        scratch=directory / "scratch",
        settings=directory / "settings",
        plan=directory / "plan.out",
    )


def _lay_out_source(directory: Path, runner: Runner, payload: PlanPayload, files: ToolFiles) -> None:
    if isinstance(payload.source, Archive):
        _unpack(directory / ARCHIVE, files)
    else:
        files.main.write_text(payload.source, encoding="utf-8")
    if not (isinstance(payload.source, Archive) and payload.source.inventory):
        write_privately(files.inventory, payload.inventory or runner.default_inventory)


def _unpack(archive: Path, files: ToolFiles) -> None:
    """Unpack it into the source directory, and nowhere else."""
    try:
        with tarfile.open(archive) as tar:
            if sum(member.size for member in tar) > MAX_UNPACKED_BYTES:
                raise InvalidTask(FieldError("source.sha256", f"must hold at most {MAX_UNPACKED_BYTES} bytes of files"))
            unpack(tar, files.source)
    except (tarfile.TarError, EOFError) as error:
        raise InvalidTask(FieldError("source.sha256", f"must be a tar of files within it: {error}")) from error
    finally:
        archive.unlink(missing_ok=True)
    for field, path in (("source.playbook", files.main), ("source.inventory", files.inventory)):
        within = path.resolve().is_relative_to(files.source.resolve())
        if path.is_relative_to(files.source) and not (within and path.exists()):
            raise InvalidTask(FieldError(field, "must be the path of a file within the archive: there is none"))
    if not (files.place.resolve().is_relative_to(files.source.resolve()) and files.place.is_dir()):
        raise InvalidTask(
            FieldError("source.directory", "must be the path of a directory within the archive: there is none")
        )
