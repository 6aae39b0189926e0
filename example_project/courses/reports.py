"""Reports as plain text."""

ORDER = ("course", "chapter", "sequential", "vertical")


def counts_table(counts: dict[str, int]) -> str:
    """Blocks by category, the structure first, then the most frequent."""

    def rank(item: tuple[str, int]) -> tuple[int, int, str]:
        category, count = item
        known = ORDER.index(category) if category in ORDER else len(ORDER)
        return known, -count, category

    return "\n".join(
        f"{count:>6,}  {category}" for category, count in sorted(counts.items(), key=rank)
    )
