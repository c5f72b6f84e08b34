"""Every block that a reader would type is typed: page by page, top to bottom, in one shell, beside a running server.

A fence says how its block is run: ```sh in the page's shell, ```python by an interpreter, ```console line by line
behind `$ `, with what is printed compared (`…` stands for anything). Words behind it: `exits=N` (a command may end so),
`endless` (it never ends by itself: it must say something; with `says=WORD` that word), `elsewhere=TEST` (that test runs
it). What is not to be run is ```text, a language of data, or a language with a test of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from tests.support.command_line import ROOT
from tests.support.pages import Block, blocks_of, pages, with_addresses
from tests.support.processes import House, environment, kill

PAGE_SECONDS = 240
RUN = {"sh", "console", "python"}
DATA: Mapping[str, Callable[[str], object]] = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
TESTED_BY_THEIR_OWN = {"js", "go", "proto", "promql", "diff"}
NOT_RUN = {"text", ""}
SESSION = Path(__file__).parent / "session.sh"

pytestmark = pytest.mark.slow


def _with_commands() -> list[Path]:
    return [page for page in pages() if any(_is_run(block) for block in blocks_of(page))]


def _is_run(block: Block) -> bool:
    return block.language in RUN and not any(word.startswith("elsewhere=") for word in block.words)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.timeout(PAGE_SECONDS + 20)
@pytest.mark.parametrize("page", _with_commands(), ids=_name)
async def test_what_a_page_says_to_type_works(page: Path, house: House, tmp_path: Path) -> None:
    addresses = {"grpc": house.server.grpc, "http": house.server.http}
    blocks = [block for block in blocks_of(page) if _is_run(block)]
    failures, script = tmp_path / "failures", tmp_path / "page.sh"
    failures.touch()
    script.write_text("".join([f". {SESSION}\n", *(_typed(block, addresses) for block in blocks)]))
    place = tmp_path / "place"
    place.mkdir()
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", str(script)),
        cwd=ROOT if "/" not in _name(page) else place,
        env=_environment(house, failures, tmp_path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PAGE_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        kill(process.pid)
        said, _ = await process.communicate()
        failures.write_text(failures.read_text() + "the page did not come to its end\n")
    printed = said.decode(errors="replace")
    failed = [*failures.read_text().splitlines(), *_unlike(blocks, printed, addresses)]
    assert not failed, "\n".join([*failed, printed])


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks_of(page):
        known = RUN | DATA.keys() | TESTED_BY_THEIR_OWN | NOT_RUN
        assert block.language in known, f"{block.name}: nobody runs ```{block.language}"
        for word in block.words:
            assert re.fullmatch(r"exits=\d+|endless|says=\S+|elsewhere=\S+", word), f"{block.name}: {word}"
            if word.startswith("elsewhere="):
                assert (ROOT / word.removeprefix("elsewhere=")).exists(), f"{block.name}: {word}"
        if block.language in DATA:
            DATA[block.language](block.text)


def _environment(house: House, failures: Path, scratch: Path) -> dict[str, str]:
    """What a reader has who has followed the quick start; programs of the page's own get places of their own."""
    env = environment()
    env["PATH"] = f"{ROOT / '.venv/bin'}:{env['PATH']}"
    env |= {"NODELINK_SERVER": house.server.grpc, "FAILURES": str(failures), "HOME": str(scratch), "ROOT": str(ROOT)}
    env |= {"NODELINK_GRPC_ADDRESS": "127.0.0.1:0", "NODELINK_HTTP_ADDRESS": "127.0.0.1:0"}
    return env | {"NODELINK_DATA_DIR": str(scratch / "data")}


def _typed(block: Block, addresses: Mapping[str, str]) -> str:
    """A block as the page's shell reads it."""
    text = with_addresses(block.text, addresses)
    if block.language == "python":
        text = f"python - <<'END_OF_PYTHON'\n{text}END_OF_PYTHON\n"
    if block.language == "console":
        text = "".join(line.removeprefix("$ ") for line in text.splitlines(keepends=True) if line.startswith("$ "))
    if "endless" in block.words:
        text = f"page_endless {shlex.quote(block.says)} <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\n"
    return f"page_block {shlex.quote(block.name)} {shlex.quote(block.exits)}\n{text}"


def _unlike(blocks: list[Block], printed: str, addresses: Mapping[str, str]) -> list[str]:
    """The blocks that show what their commands print, and show it wrongly."""
    failed = []
    for block in blocks:
        if block.language != "console":
            continue
        shown = "".join(line for line in block.text.splitlines(keepends=True) if not line.startswith("$ "))
        pattern = ".*".join(re.escape(part) for part in with_addresses(shown, addresses).strip().split("…"))
        got = printed.partition(f"--- {block.name}\n")[2].partition("\n--- ")[0]
        if not re.fullmatch(pattern, got.strip(), re.DOTALL):
            failed.append(f"{block.name}: prints\n{got}")
    return failed
