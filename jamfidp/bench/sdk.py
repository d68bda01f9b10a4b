"""Microsoft's own SDK on the same pages, where it is installed (`make witness`)."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

from django.conf import settings

PAGES = 3
# It imports thousands of names for each object.
SECONDS = 600


def page_seconds(
    facts: dict[str, Any], token: str, start: str, say: Callable[[str], None]
) -> float | None:
    """Return the median time of a page of people, or None where there is no SDK."""
    python = settings.BASE_DIR / "var/witness/venv/bin/python"
    if not python.exists():
        say(
            "  msgraph-sdk is not installed: goal 2 is skipped; `make witness` installs it"
        )
        return None
    told = {"facts": facts, "token": token, "start": start, "pages": PAGES}
    done = subprocess.run(  # noqa: S603 our own module
        [python, settings.BASE_DIR / "jamfidp/bench/sdk_pages.py"],
        input=json.dumps(told),
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        say("  msgraph-sdk failed, see above: goal 2 is skipped")
        return None
    return float(json.loads(done.stdout))
