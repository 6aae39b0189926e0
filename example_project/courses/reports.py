"""Reports as plain text."""

STRUCTURE = ("course", "chapter", "sequential", "vertical")


def counts_table(counts: dict[str, int]) -> str:
    """Return a line for each category: the structure first, then by falling count."""

    def rank(item: tuple[str, int]) -> tuple[int, int, str]:
        category, count = item
        level = STRUCTURE.index(category) if category in STRUCTURE else len(STRUCTURE)
        return level, -count, category

    return "\n".join(
        f"{count:>6,}  {category}" for category, count in sorted(counts.items(), key=rank)
    )
