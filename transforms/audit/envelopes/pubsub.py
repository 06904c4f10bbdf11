"""A Pub/Sub message as JSON: `{"message": {"attributes": {…}, "data": "<base64>"}, "subscription": …}`.

So push subscriptions post it, and `gcloud pubsub subscriptions pull` prints it, with `ackId`. Of the attributes one is about
the event: the cluster, by the name that OpenTelemetry, Google's resource labels or most people give it. Source:
cloud.google.com, "Receive messages with push subscriptions", "PubsubMessage".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from transforms.audit.envelopes.inner import Inner
from transforms.audit.envelopes.unpack import inner_of
from transforms.audit.members import Members, members, string, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

ORDER = 85
FIELDS = ("subscription", "ackId")
CLUSTER_ATTRIBUTES: Final = ("k8s.cluster.name", "cluster_name", "cluster")


def unwrap(fields: Members) -> list[Inner] | None:
    """What the message's data hold."""
    try:
        message = members(fields.get("message") or b"{}")
        attributes = members(message.get("attributes") or b"{}")
    except unreadable:
        return None
    data = string(message.get("data"))
    if data is None:
        return None
    named = {name: string(attributes.get(name)) or "" for name in CLUSTER_ATTRIBUTES}
    return [inner_of(data.encode(), cluster_of(named))]


def cluster_of(attributes: Mapping[str, str]) -> str | None:
    """The cluster that a message's attributes name, if they do."""
    return next((attributes[name] for name in CLUSTER_ATTRIBUTES if attributes.get(name)), None)
