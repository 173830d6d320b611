"""Writes the generated files of the ``protocol`` folder that this package lies in."""

from __future__ import annotations

import sys
from pathlib import Path

from stream_protocol.schema.document import generate


def main() -> int:
    folder = Path(__file__).resolve().parents[2]
    readme = folder / "README.md"
    if not readme.is_file():
        print(f"{folder} is not the protocol folder of a source tree", file=sys.stderr)
        return 1
    for name, content in generate(readme.read_text(encoding="utf-8")).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
