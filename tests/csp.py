"""The test site is a strict one: nothing inline, nothing from elsewhere."""

from collections.abc import Callable
from typing import Any

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def strict(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Middleware: a Content-Security-Policy that allows nothing inline."""

    def respond(request: Any) -> Any:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return respond
