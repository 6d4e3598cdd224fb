"""The rows. Constraints live here, rules live in `storms.services`, which alone writes them."""

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Value
from django.utils import timezone

from storms.choices import (
    AlertStatus,
    CloseReason,
    Disposition,
    EventKind,
    Outcome,
    Priority,
    RequestKind,
    Severity,
    StormState,
    SyncState,
)
from storms.validators import validate_group_by, validate_matchers, validate_pattern


def default_group_by() -> list[str]:
    return ["namespace"]


class ConfigGeneration(models.Model):
    """One row. Its value changes, by database triggers, whenever a policy or a receiver changes.

    Every webhook reads it in its one look-up, so an edit holds from the next alert on in every web process.
    """

    id = models.PositiveSmallIntegerField(primary_key=True)
    value = models.BigIntegerField()

    def __str__(self) -> str:
        return str(self.value)


class StormPolicy(models.Model):
    """What is a storm, for which alerts."""

    name = models.CharField(max_length=100, unique=True, help_text="Shown with every decision made under this policy.")
    enabled = models.BooleanField(default=True, help_text="A disabled policy gets no alerts.")
    matchers = models.TextField(
        blank=True,
        validators=[validate_matchers],
        help_text=(
            'Alertmanager\'s syntax, one per line or separated by commas: namespace="payments", severity=~"crit.*", '
            'team!="infra". All must match. Empty: every alert.'
        ),
    )
    priority = models.IntegerField(
        default=0,
        validators=[MinValueValidator(-1000), MaxValueValidator(1000)],
        help_text="Among equally specific policies the higher priority wins, then the name.",
    )
    group_by = ArrayField(
        models.CharField(max_length=128),
        default=default_group_by,
        blank=True,
        validators=[validate_group_by],
        help_text="Label names, separated by commas. Alerts with the same values are counted together; "
        "a missing label is the empty value. Empty: all alerts of the policy are one group.",
    )
    threshold = models.PositiveIntegerField(
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(100_000)],
        help_text="The alert with which this many distinct new episodes were seen in the window opens the storm.",
    )
    window_seconds = models.PositiveIntegerField(
        default=60,
        validators=[MinValueValidator(1), MaxValueValidator(86_400)],
        help_text="Length of the sliding window, in seconds.",
    )
    hold_seconds = models.PositiveIntegerField(
        default=10,
        validators=[MaxValueValidator(3_600)],
        help_text="How long an alert below the threshold waits before it gets a RemediationRequest of its own, in "
        "seconds (like Alertmanager's group_wait). 0: at once; it is absorbed if a storm opens later.",
    )
    quiet_seconds = models.PositiveIntegerField(
        default=300,
        validators=[MinValueValidator(1), MaxValueValidator(604_800)],
        help_text="A storm closes when no new alert came for this long, in seconds.",
    )
    max_duration_seconds = models.PositiveIntegerField(
        default=14_400,
        validators=[MinValueValidator(1), MaxValueValidator(2_592_000)],
        help_text="A storm closes after this long at the latest, in seconds; if it goes on, a linked one opens.",
    )
    reopen_seconds = models.PositiveIntegerField(
        default=0,
        validators=[MaxValueValidator(86_400)],
        help_text="A new alert within this time after a storm closed by itself reopens it instead of being "
        "counted anew, in seconds. 0: never.",
    )
    count_flapping_once = models.BooleanField(
        default=False,
        help_text="Episodes of an alert that flaps (three re-fires in an hour) count once in the window, not each.",
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    owner_note = models.TextField(blank=True, help_text="Who owns this policy, and why it is as it is.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-priority", "name"]
        verbose_name_plural = "storm policies"
        constraints = [
            models.CheckConstraint(condition=models.Q(threshold__gte=1), name="policy_threshold_positive"),
            models.CheckConstraint(condition=models.Q(window_seconds__gte=1), name="policy_window_positive"),
        ]

    def __str__(self) -> str:
        return self.name


class PolicyVersion(models.Model):
    """What a policy was, from when, by whom; every save adds one."""

    policy = models.ForeignKey(StormPolicy, on_delete=models.CASCADE, related_name="versions")
    version = models.PositiveIntegerField()
    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=150, blank=True)
    fields = models.JSONField(help_text="{field: value}, enough to restore it.")
    changes = models.JSONField(default=dict, help_text="{field: [before, after]}; empty for the first.")
    restored_from = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["-version"]
        constraints = [models.UniqueConstraint(fields=["policy", "version"], name="policy_version_once")]

    def __str__(self) -> str:
        return f"{self.policy} v{self.version}"


class SeverityRule(models.Model):
    """A value of the label `severity`, and what it means here. Case does not matter."""

    value = models.CharField(max_length=128, unique=True)
    severity = models.CharField(max_length=8, choices=Severity)

    class Meta:
        ordering = ["value"]

    def __str__(self) -> str:
        return f"{self.value} is {self.severity}"


class EnvironmentRule(models.Model):
    """Namespaces by pattern, and the environment they belong to; the first rule by position that matches wins."""

    position = models.PositiveIntegerField(default=100)
    namespace_pattern = models.CharField(
        max_length=500, validators=[validate_pattern], help_text="RE2, anchored: prod-.*, payments|checkout"
    )
    environment = models.CharField(max_length=63)

    class Meta:
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return f"{self.namespace_pattern} is {self.environment}"


class PriorityRule(models.Model):
    """Severity and environment to P0 (first) to P3; an empty environment stands for all that have no rule."""

    severity = models.CharField(max_length=8, choices=Severity)
    environment = models.CharField(max_length=63, blank=True)
    priority = models.CharField(max_length=2, choices=Priority)

    class Meta:
        ordering = ["priority", "severity", "environment"]
        constraints = [models.UniqueConstraint(fields=["severity", "environment"], name="one_priority_each")]

    def __str__(self) -> str:
        return f"{self.severity} in {self.environment or 'any environment'} is {self.priority}"


class Storm(models.Model):
    """A burst of one group. Its thresholds are those of the policy version that it was opened under."""

    id = models.UUIDField(primary_key=True)
    policy = models.ForeignKey(StormPolicy, null=True, on_delete=models.SET_NULL, related_name="storms")
    policy_name = models.CharField(max_length=100)
    policy_version = models.PositiveIntegerField()
    group_key = models.CharField(max_length=64)
    group_labels = models.JSONField(default=dict)
    state = models.CharField(max_length=8, choices=StormState, default=StormState.OPEN)
    threshold = models.PositiveIntegerField()
    window_seconds = models.PositiveIntegerField()
    quiet_seconds = models.PositiveIntegerField()
    max_duration_seconds = models.PositiveIntegerField()
    opened_at = models.DateTimeField(help_text="The store's clock.")
    opened_by = models.UUIDField(help_text="The alert that reached the threshold.")
    window_from = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Alerts that came after it are in the storm. None: a window before it opened; earlier where alerts "
        "counted that had come while the store was away.",
    )
    closed_at = models.DateTimeField(null=True, blank=True, help_text="The store's clock.")
    close_reason = models.CharField(max_length=16, choices=CloseReason, blank=True)
    close_comment = models.CharField(max_length=500, blank=True, db_default="")
    previous = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="continued_by")
    merged_into = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="merged")
    reopened_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=150, blank=True, db_default="")
    assignee = models.CharField(max_length=150, blank=True, db_default="")

    # What the last refresh counted; the alerts are the truth.
    alert_count = models.PositiveIntegerField(default=0)
    firing_count = models.PositiveIntegerField(default=0)
    resolved_count = models.PositiveIntegerField(default=0)
    severity = models.CharField(max_length=8, choices=Severity, default=Severity.INFO)
    severity_counts = models.JSONField(default=dict)
    alert_names = models.JSONField(default=list, help_text="[{name, count}], most frequent first.")
    places = models.JSONField(
        default=list, db_default=Value([], models.JSONField()), help_text="Namespaces and clusters seen, for news."
    )
    recent = models.JSONField(
        default=dict,
        db_default=Value({}, models.JSONField()),
        help_text="{bucket: alerts that joined in it}, of the last minutes (see storms.rate).",
    )
    last_alert_at = models.DateTimeField()
    refreshed_at = models.DateTimeField(null=True, blank=True)
    refreshed_xmin = models.BigIntegerField(
        default=0, help_text="Every change by a transaction below this one was counted (see services.refresh)."
    )

    class Meta:
        ordering = ["-opened_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["group_key"], condition=models.Q(state="open"), name="one_open_storm_per_group"
            ),
            models.CheckConstraint(
                condition=models.Q(state="open", closed_at__isnull=True)
                | models.Q(state="closed", closed_at__isnull=False),
                name="storm_closed_at_when_closed",
            ),
        ]
        indexes = [
            models.Index(fields=["-opened_at", "-id"]),
            models.Index(fields=["group_key", "-opened_at"]),
            models.Index(
                fields=["-closed_at", "-id"],
                name="storm_ended",
                condition=models.Q(state="closed", firing_count=0),
            ),
            models.Index(
                fields=["id"],
                name="storm_live",
                condition=models.Q(state="open") | models.Q(firing_count__gt=0),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.group_title} · {self.alert_count:,} alerts"

    @property
    def begins_at(self) -> datetime:
        """Since when what came belongs to it; in SQL `storms.services.lookup.WINDOW_FROM`."""
        return self.window_from or self.opened_at - timedelta(seconds=self.window_seconds)

    @property
    def group_title(self) -> str:
        """The group in a line: `namespace=payments`."""
        return ", ".join(f"{name}={value or '(none)'}" for name, value in self.group_labels.items()) or "all alerts"

    @property
    def is_settled(self) -> bool:
        """Closed, but some of its alerts still fire: it stays in sight."""
        return self.state == StormState.CLOSED and self.firing_count > 0


class Alert(models.Model):
    """One episode of an alert: its identity is (fingerprint, startsAt), and the id is derived from both."""

    id = models.UUIDField(primary_key=True)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the labels, hex.")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(max_length=8, choices=AlertStatus)
    outcome = models.CharField(max_length=16, choices=Outcome, help_text="What was answered when it came in.")
    disposition = models.CharField(max_length=20, choices=Disposition)

    alertname = models.CharField(max_length=512, blank=True)
    namespace = models.CharField(max_length=512, blank=True)
    severity = models.CharField(max_length=8, choices=Severity)
    environment = models.CharField(max_length=63, blank=True, db_default="")
    priority = models.CharField(max_length=2, choices=Priority, blank=True, db_default="")
    resource_kind = models.CharField(max_length=64)
    resource_name = models.CharField(max_length=512)
    labels = models.JSONField()
    annotations = models.JSONField(default=dict)
    generator_url = models.TextField(blank=True)
    receiver = models.CharField(max_length=100, help_text="Name of the receiver that saw it first.")
    source = models.CharField(max_length=32, help_text="Kind of that receiver.")
    delivery_id = models.UUIDField(help_text="The delivery that brought it first.")

    received_at = models.DateTimeField()
    deferred_at = models.DateTimeField(
        null=True, blank=True, help_text="PostgreSQL's clock when it was recorded, if the store was away then."
    )
    last_seen_at = models.DateTimeField()
    occurrences = models.PositiveIntegerField(default=0, help_text="How often it was received firing.")
    resolutions = models.PositiveIntegerField(default=0, help_text="How often its resolution was received.")

    # The decision, as the store made it.
    policy = models.ForeignKey(StormPolicy, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)
    policy_version = models.PositiveIntegerField(default=0)
    policy_reason = models.CharField(max_length=300, blank=True)
    group_key = models.CharField(max_length=64)
    group_labels = models.JSONField(default=dict)
    decided_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When it counted: the store's clock at the decision, or `deferred_at`, if that is not later.",
    )
    count = models.PositiveIntegerField(null=True, blank=True, help_text="Episodes in the window, this one included.")
    threshold = models.PositiveIntegerField(null=True, blank=True)
    release_at = models.DateTimeField(null=True, blank=True)
    storm = models.ForeignKey(
        Storm, null=True, blank=True, on_delete=models.PROTECT, related_name="alerts", db_index=False
    )
    split_from = models.ForeignKey(
        Storm, null=True, blank=True, on_delete=models.SET_NULL, related_name="split_alerts", db_index=False
    )
    silence_id = models.BigIntegerField(null=True, blank=True, help_text="The silence that matched when it came in.")
    flapping = models.BooleanField(
        default=False, db_default=False, help_text="Its alert fired anew three times within an hour."
    )
    changed_xid = models.BigIntegerField(
        default=0, help_text="The transaction that last changed what a storm's resource says of it."
    )

    class Meta:
        ordering = ["-received_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["fingerprint", "starts_at"], name="one_row_per_episode"),
            models.CheckConstraint(
                condition=~models.Q(disposition="member") | models.Q(storm__isnull=False), name="member_has_storm"
            ),
            models.CheckConstraint(
                condition=~models.Q(disposition="held") | models.Q(release_at__isnull=False), name="held_has_release"
            ),
        ]
        indexes = [
            models.Index(fields=["-received_at", "-id"]),
            models.Index(fields=["storm", "changed_xid"], condition=models.Q(storm__isnull=False), name="alert_storm"),
            models.Index(
                fields=["storm", "-received_at", "-id"],
                condition=models.Q(storm__isnull=False),
                name="alert_storm_latest",
            ),
            models.Index(fields=["split_from"], condition=models.Q(split_from__isnull=False), name="alert_split"),
            models.Index(fields=["release_at"], condition=models.Q(disposition="held"), name="alert_held"),
            models.Index(fields=["deferred_at"], condition=models.Q(disposition="deferred"), name="alert_waiting"),
            models.Index(
                fields=["group_key", "deferred_at"],
                condition=models.Q(disposition="deferred"),
                name="alert_waiting_group",
            ),
            models.Index(
                fields=["group_key", "decided_at"],
                condition=models.Q(storm__isnull=True, decided_at__isnull=False),
                name="alert_window",
            ),
            models.Index(
                fields=["last_seen_at"],
                condition=models.Q(status="firing", source="kubernetes-event"),
                name="alert_expiry",
            ),
            models.Index(
                fields=["received_at"], condition=models.Q(status="firing", source="heartbeat"), name="alert_silent"
            ),
            # The explorer looks through these in the order of time (storms/alert_scan.py).
            models.Index(fields=["alertname", "received_at"], name="alert_by_name"),
            models.Index(fields=["namespace", "received_at"], name="alert_by_namespace"),
            models.Index(fields=["received_at"], condition=models.Q(status="firing"), name="alert_firing"),
        ]

    def __str__(self) -> str:
        return f"{self.alertname or 'alert'} {self.namespace}".strip()


class RemediationRequest(models.Model):
    """One custom resource: the desired state comes from the rows, this row says how far the cluster has followed.

    `desired_version` rises with every change, `applied_version` follows it, like a controller's `generation` and
    `observedGeneration`. The id is the alert's or the storm's, so making it twice is a no-op.
    """

    id = models.UUIDField(primary_key=True)
    kind = models.CharField(max_length=8, choices=RequestKind)
    alert = models.OneToOneField(
        Alert, null=True, blank=True, on_delete=models.PROTECT, related_name="remediation_request"
    )
    storm = models.OneToOneField(
        Storm, null=True, blank=True, on_delete=models.PROTECT, related_name="remediation_request"
    )
    name = models.CharField(max_length=63, unique=True)
    namespace = models.CharField(max_length=63)
    origin_namespace = models.CharField(max_length=512, blank=True, help_text="The alert's own, where it differs.")
    superseded_by = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="supersedes"
    )
    created_at = models.DateTimeField(default=timezone.now)

    desired_version = models.PositiveIntegerField(default=1)
    applied_version = models.PositiveIntegerField(default=0)
    rejected_version = models.PositiveIntegerField(default=0, help_text="The cluster refused this version as wrong.")
    sync_state = models.CharField(max_length=10, choices=SyncState, default=SyncState.PENDING)
    attempts = models.PositiveIntegerField(default=0, help_text="Since the last success.")
    last_attempt_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    enqueued_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    applied_at = models.DateTimeField(null=True, blank=True)
    applied_hash = models.CharField(max_length=64, blank=True)
    apply_count = models.PositiveIntegerField(default=0, help_text="Applies that reached the cluster.")
    manifest = models.JSONField(null=True, blank=True, help_text="As applied last.")

    cluster = models.CharField(max_length=200, blank=True, help_text="`local`, or the API server's address.")
    uid = models.CharField(max_length=64, blank=True)
    resource_version = models.CharField(max_length=64, blank=True)
    generation = models.BigIntegerField(default=0)
    phase = models.CharField(max_length=32, blank=True)
    phase_message = models.TextField(blank=True)
    phase_at = models.DateTimeField(null=True, blank=True)
    collected_at = models.DateTimeField(
        null=True, blank=True, help_text="Deleted from the cluster by garbage collection."
    )

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind="alert", alert__isnull=False, storm__isnull=True)
                | models.Q(kind="storm", storm__isnull=False, alert__isnull=True),
                name="request_of_alert_or_storm",
            )
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"]),
            models.Index(
                fields=["next_attempt_at"], condition=models.Q(sync_state__in=["pending", "failed"]), name="request_due"
            ),
            models.Index(
                fields=["created_at"],
                condition=models.Q(sync_state__in=["failed", "rejected"]),
                name="request_failing",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ObservedResource(models.Model):
    """What the watch saw of a RemediationRequest in the cluster, beyond what was applied there.

    A row of its own, since lists of requests need none of it, and it can be half a megabyte.
    """

    request = models.OneToOneField(
        RemediationRequest, on_delete=models.CASCADE, primary_key=True, related_name="observed"
    )
    at = models.DateTimeField()
    body = models.JSONField(null=True, help_text="The resource where it differs; {}: deleted; null: as applied.")
    status = models.JSONField(default=dict, help_text="The remediation operator's, bounded.")

    def __str__(self) -> str:
        return f"{self.request_id} at {self.at:%Y-%m-%d %H:%M:%S}"


class StormEvent(models.Model):
    """The timeline of a storm."""

    storm = models.ForeignKey(Storm, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=20, choices=EventKind)
    at = models.DateTimeField()
    message = models.CharField(max_length=500)
    detail = models.JSONField(default=dict, blank=True)
    actor = models.CharField(max_length=150, blank=True, help_text="A person's name; empty: the console.")
    # Makes a repeated write a no-op where a kind happens once.
    once = models.CharField(max_length=64, null=True, blank=True, editable=False)

    class Meta:
        ordering = ["at", "id"]
        constraints = [models.UniqueConstraint(fields=["storm", "once"], name="event_once_per_storm")]
        indexes = [models.Index(fields=["storm", "at"])]

    def __str__(self) -> str:
        return self.message


class LabelBaseline(models.Model):
    """One row: how frequent label values were among the alerts of the last days, from a sample of them.

    An alert's id is a hash, so those up to `sample_to` are a random sample, and whether an alert is in it is known.
    """

    id = models.PositiveSmallIntegerField(primary_key=True)
    since = models.DateTimeField()
    at = models.DateTimeField(help_text="Alerts received before this moment were counted.")
    sample_to = models.UUIDField()
    sampled = models.PositiveIntegerField(help_text="Alerts in the sample.")
    counts = models.JSONField(help_text="{label: {value: alerts}}, the most frequent values.")
    floor = models.PositiveIntegerField(help_text="A value that is not in `counts` has so many alerts at most.")

    def __str__(self) -> str:
        return f"{self.sampled} alerts since {self.since:%Y-%m-%d %H:%M}"


class WatchState(models.Model):
    """One row: what the watch of the cluster heard last, written by itself (`storms.services.watching`)."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    cluster = models.CharField(max_length=200, blank=True)
    listed_at = models.DateTimeField(null=True, help_text="Everything was compared.")
    heard_at = models.DateTimeField(
        null=True, help_text="The cluster's last word: a list, an event, a watch that ended."
    )
    event_at = models.DateTimeField(null=True, help_text="The last event about one of our resources.")
    failing_since = models.DateTimeField(null=True, help_text="None while it goes well.")
    failed_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=500, blank=True)

    def __str__(self) -> str:
        return self.cluster


class DayTotals(models.Model):
    """What came in and what was made on one day, in UTC; `ingestion.daily` adds it up again while the day is young."""

    day = models.DateField(primary_key=True)
    deliveries = models.PositiveBigIntegerField(default=0)
    refused = models.PositiveBigIntegerField(default=0, help_text="Deliveries that were answered with an error.")
    received = models.PositiveBigIntegerField(default=0, help_text="Alerts in deliveries, re-sends among them.")
    outcomes = models.JSONField(default=dict, help_text="{outcome: number of alerts}")
    resources = models.PositiveBigIntegerField(default=0, help_text="RemediationRequests made.")
    counted_at = models.DateTimeField()

    class Meta:
        ordering = ["-day"]

    def __str__(self) -> str:
        return str(self.day)


class NearMiss(models.Model):
    """A group that came close to its policy's threshold on a day, in UTC, and was no storm."""

    day = models.DateField()
    policy = models.ForeignKey(StormPolicy, on_delete=models.CASCADE, related_name="near_misses")
    group_key = models.CharField(max_length=64)
    group_labels = models.JSONField(default=dict)
    peak = models.PositiveIntegerField(help_text="The most episodes that were in the window at once.")
    threshold = models.PositiveIntegerField()
    peaked_at = models.DateTimeField()

    class Meta:
        ordering = ["-day", "-peak"]
        constraints = [models.UniqueConstraint(fields=["policy", "day", "group_key"], name="one_near_miss_a_day")]
        indexes = [models.Index(fields=["day"], name="near_miss_day")]

    def __str__(self) -> str:
        return f"{self.peak} of {self.threshold} on {self.day}"


class LocalResource(models.Model):
    """The local cluster's table: what a Kubernetes API would hold, when none is configured."""

    namespace = models.CharField(max_length=63)
    name = models.CharField(max_length=253)
    uid = models.UUIDField()
    resource_version = models.BigIntegerField()
    generation = models.BigIntegerField(default=1)
    body = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["namespace", "name"]
        constraints = [models.UniqueConstraint(fields=["namespace", "name"], name="local_resource_name")]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class SavedFilter(models.Model):
    """A filter of the alert explorer under a name: its owner's, or everybody's to use."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_filters")
    name = models.CharField(max_length=80)
    query = models.TextField(help_text="The explorer's address behind the question mark.")
    shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="saved_filter_name_once")]
        permissions = [("share_savedfilter", "Can share saved filters with everybody")]

    def __str__(self) -> str:
        return self.name


class AlertColumns(models.Model):
    """Which columns a person sees in the alert explorer, where the address does not say."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="alert_columns")
    columns = ArrayField(models.CharField(max_length=256))

    class Meta:
        verbose_name_plural = "alert columns"

    def __str__(self) -> str:
        return ", ".join(self.columns)


class ApiToken(models.Model):
    """A person's token for the read API: hashed, shown once."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100, default="api")
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Refused from then on. Empty: never.")

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API token"
        verbose_name_plural = "API tokens"

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"


class AuditEntry(models.Model):
    """Who did what, from where; written by `storms.services.audit` alone and never changed."""

    at = models.DateTimeField()
    actor = models.CharField(max_length=150, blank=True, help_text="A person's name; empty: the console itself.")
    via = models.CharField(max_length=200, help_text="`web`, the API token's name, or `command line`.")
    remote_addr = models.GenericIPAddressField(null=True)
    action = models.CharField(max_length=40)
    target_type = models.CharField(max_length=40, blank=True)
    target_id = models.CharField(max_length=64, blank=True)
    target_name = models.CharField(max_length=200, blank=True, help_text="As it was called then.")
    before = models.JSONField(default=dict, help_text="{field: value} of what changed.")
    after = models.JSONField(default=dict, help_text="{field: value} of what changed.")
    detail = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["-at", "-id"], name="audit_at"),
            models.Index(fields=["target_type", "target_id", "-at"], name="audit_target"),
            models.Index(fields=["actor", "-at"], name="audit_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.actor or 'stormconsole'}: {self.action} {self.target_name}".strip()
