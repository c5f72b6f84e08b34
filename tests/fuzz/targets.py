"""What is fuzzed, by name: functions that take any bytes, and raise only if something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.fuzz.frames import agent_frame, server_frame
from tests.fuzz.links import server_stream
from tests.fuzz.streams import agent_stream
from tests.fuzz.texts import journal, journal_record, json_text, shell_payload

Target = Callable[[bytes], None]

TARGETS: Mapping[str, Target] = {
    target.__name__: target
    for target in (
        agent_frame,
        agent_stream,
        journal,
        journal_record,
        json_text,
        server_frame,
        server_stream,
        shell_payload,
    )
}
