"""Draws the picture of the README: the screen of `stream-server demo` at one moment, from the events of a real run.

    stream-server demo --json | python docs/images/captions.py --at 27

The events come from standard input, one JSON object a line; nothing on the screen is made up.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from stream_protocol import decode_event
from stream_protocol.events import Partial
from stream_server.caption import CaptionView

TARGET = Path(__file__).with_suffix(".svg")
BACKGROUND, FOREGROUND = (24, 26, 31), (215, 218, 224)
RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = (
    (240, 110, 105),
    (130, 200, 120),
    (225, 190, 110),
    (110, 165, 240),
    (200, 140, 230),
    (95, 200, 205),
)
THEME = TerminalTheme(BACKGROUND, FOREGROUND, [BACKGROUND, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, FOREGROUND])


class _Screen(CaptionView):
    """The view without a live region, which a recording console cannot wipe away."""

    def draw(self, console: Console) -> None:
        console.print(self._region())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", type=float, default=27.0, help="seconds into the recording")
    parser.add_argument("--total", type=float, default=44.4, help="length of the recording in seconds")
    arguments = parser.parse_args()

    console = Console(record=True, force_terminal=True, width=100, height=30, file=sys.stderr, highlight=False)
    console.print(Text("$ make demo", "dim"))
    screen = _Screen(console, total_ms=round(arguments.total * 1000))
    for line in sys.stdin:
        event = decode_event(line) if "type" in json.loads(line) else None
        if event is None:  # the summary at the end
            continue
        screen.receive(event)
        if isinstance(event, Partial) and event.offset_ms + event.duration_ms >= arguments.at * 1000:
            screen.advance(event.offset_ms + event.duration_ms)
            break
    else:
        sys.exit(f"no partial comes after {arguments.at:g} s")
    screen.draw(console)
    picture = console.export_svg(title="Stream Server", theme=THEME, unique_id="captions")
    # Without fonts from elsewhere: a picture in a repository must not load anything.
    TARGET.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL), encoding="utf-8")
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
