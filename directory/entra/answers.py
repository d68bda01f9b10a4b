"""Reading an answer as JSON, and noticing when somebody else has answered."""

import re
from typing import Any

import orjson
import requests

from directory.entra import errors
from directory.entra.transport import request_id

_KIND = re.compile(r"[a-z]+/[a-z0-9.+-]{1,60}")


def content_type(response: requests.Response) -> str:
    """Return the media type without its parameters; empty when it is none."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind if _KIND.fullmatch(kind) else ""


def is_json(response: requests.Response) -> bool:
    return content_type(response) == "application/json"


def json_value(response: requests.Response) -> Any:
    """Return the body as JSON, or None when it cannot be read as such."""
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None


def foreign_answer(response: requests.Response, party: str) -> errors.ForeignAnswer:
    """Build the error for an answer that `party` does not give.

    The pages that proxies, firewalls and networks with a sign-in page show in place
    of an answer come with any status, 200 and 403 among them.
    """
    kind = content_type(response) or "no known kind of content"
    return errors.ForeignAnswer(
        f"Something else answered in place of {party}: {kind}.",
        status=response.status_code,
        request_id=request_id(response),
    )
