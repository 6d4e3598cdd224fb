"""The four roles. Each may do what the one before it may, and more; docs/roles.md has them as a table.

A role is a Django group of that name. What it may do is written here: after every `migrate` the four groups have
exactly these permissions again (`stormconsole.accounts.services.grant_roles`). For other needs make other groups.
"""

VIEWER = "viewer"
OPERATOR = "operator"
TUNER = "tuner"
ADMINISTRATOR = "administrator"
ROLES = (VIEWER, OPERATOR, TUNER, ADMINISTRATOR)
"""From the least to the most."""

RULES = ("severityrule", "environmentrule", "priorityrule")
GRANTS: dict[str, tuple[str, ...]] = {
    VIEWER: (
        "storms.view_storm",
        "storms.view_alert",
        "storms.view_stormevent",
        "storms.view_remediationrequest",
        "storms.view_stormpolicy",
        "storms.view_policyversion",
        "storms.view_severityrule",
        "storms.view_environmentrule",
        "storms.view_priorityrule",
        "ingestion.view_receiver",
        "ingestion.view_silence",
        "ingestion.view_delivery",
        "ingestion.view_deadletter",
        "ingestion.view_reconcilerun",
    ),
    OPERATOR: (
        "storms.change_storm",
        "storms.share_savedfilter",
        "ingestion.add_silence",
        "ingestion.change_silence",
        "ingestion.change_deadletter",
        "ingestion.add_reconcilerun",
    ),
    TUNER: (
        "storms.add_stormpolicy",
        "storms.change_stormpolicy",
        "storms.delete_stormpolicy",
        *(
            f"storms.{verb}_{rule}rule"
            for rule in ("severity", "environment", "priority")
            for verb in ("add", "change")
        ),
        *(f"storms.delete_{rule}rule" for rule in ("severity", "environment", "priority")),
    ),
    ADMINISTRATOR: (),
}
"""What each role adds to the one before it; an administrator's is everything in `ADMINISTERED`."""
ADMINISTERED = ("storms", "ingestion", "auth", "stormconsole")
"""The apps whose every permission an administrator has."""


def granted(role: str) -> set[str]:
    """The permissions of a role, `app.codename`; an administrator's are more, see `ADMINISTERED`."""
    return {name for lesser in ROLES[: ROLES.index(role) + 1] for name in GRANTS[lesser]}
