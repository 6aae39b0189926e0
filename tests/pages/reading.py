"""What a page says, as its script and its readers see it."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from django.urls import reverse

from user_workflows.models import UserTaskStatus


def address(node: UserTaskStatus, page: str = "detail") -> str:
    return reverse(f"user_workflows:{page}", args=[node.uuid])


def versions(html: str, what: str) -> str:
    """The ``rows`` or ``parts`` of a page with their versions, as its script sends them."""
    found = re.findall(rf'data-uw-{what}="(\w+)" data-uw-v="(\w+)"', html)
    return ",".join(f"{name}.{version}" for name, version in found)


def known(html: str) -> dict[str, str]:
    """What the script of a page sends to ask for changes."""
    return {"rows": versions(html, "row"), "parts": versions(html, "part")}


def shown(html: str) -> list[str]:
    """The names in the tree, in order."""
    names = re.findall(r'<span class="uw-name-text" dir="auto">(.*?)</span>', html, re.S)
    return [unescape(name) for name in names]


def text(html: str) -> str:
    """All words of a page, without markup."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def page(client: Any, node: UserTaskStatus, name: str = "detail", **query: Any) -> str:
    answer = client.get(address(node, name), query)
    assert answer.status_code == 200
    content: str = answer.content.decode()
    return content
