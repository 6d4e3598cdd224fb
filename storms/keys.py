"""Key names in Valkey, all of them (pure).

Glossary. Every key of a group carries the group key in braces: Redis Cluster hashes only what stands in braces, so all
keys of one script call live on one node.

    stormconsole:{G}:state       hash: the open storm of group G and the last closed one (fields: see lua/decide.lua)
    stormconsole:{G}:window      sorted set: episodes that are in no storm, scored with the store's microseconds
    stormconsole:{G}:decisions   hash: episode -> the answer it got, so that a retry gets the same one
    stormconsole:{G}:remembered  sorted set: the same episodes by time, to forget them in order
    stormconsole:limit:R         string: until when receiver R has used up its limit (see lua/limit.lua)
"""

from typing import NamedTuple

PREFIX = "stormconsole"
STATES = f"{PREFIX}:{{*}}:state"
"""The pattern of every group's state."""


class GroupKeys(NamedTuple):
    """The four keys of a group, in the order in which the scripts take them."""

    state: str
    window: str
    decisions: str
    remembered: str


def group_keys(group_key: str) -> GroupKeys:
    base = f"{PREFIX}:{{{group_key}}}"
    return GroupKeys(f"{base}:state", f"{base}:window", f"{base}:decisions", f"{base}:remembered")


def limit_key(receiver_id: int) -> str:
    return f"{PREFIX}:limit:{receiver_id}"


def group_of(state_key: str) -> str:
    """The group key of a state's key."""
    return state_key.partition("{")[2].rpartition("}")[0]
