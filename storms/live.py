"""The only caller of `group_send`."""

from typing import Any


def publish_storm(storm: Any) -> None:
    """Tell the open pages about a storm; never raises."""
