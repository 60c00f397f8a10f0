"""The order of names that contain numbers."""

import re


def natural_order(name: str) -> list[tuple[int, str]]:
    """Returns a sort key by which `Dense_2` precedes `Dense_10`."""
    parts = re.split("([0-9]+)", name)  # texts and numbers alternate
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)]
