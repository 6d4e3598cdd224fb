"""An alert as it comes in, whatever its source spoke (pure)."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class IncomingAlert:
    """One alert of a payload, checked and normalised; `id` is its episode, derived from (fingerprint, starts_at)."""

    id: UUID
    fingerprint: str
    firing: bool
    starts_at: datetime
    ends_at: datetime | None
    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str
    alertname: str
    namespace: str
    resource_kind: str
    resource_name: str
