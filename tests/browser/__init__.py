"""What people see: the pages that the server serves, in a real browser."""

from typing import Final

NEEDS_PLAYWRIGHT: Final = "Playwright is not installed: pip install playwright"
