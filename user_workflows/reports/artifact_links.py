"""Links that tasks leave for users: which of them a browser may follow."""


def safe_link(url: str | None) -> str:
    """Return an address of the web as it is, and an empty string for any other: no scripts."""
    return url if url and url.lower().startswith(("http://", "https://")) else ""
