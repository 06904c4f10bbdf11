"""The calls to Pub/Sub that a source makes, over google-cloud-pubsub, and what their failures mean.

Retries are the caller's: the client library's own would hide for how long a server has been away.
"""

from __future__ import annotations

import logging
import os
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from transforms.connectors.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CALL_SECONDS: Final = 10.0  # for an answer, where the server does not wait for messages
IDS_OF_CALL: Final = 1000  # a request may have 512 KiB, and an acknowledgement ID a few hundred bytes
LARGEST_ANSWER: Final = 128 << 20  # bytes of one pull that are taken; beyond, it is asked for fewer messages
PASSING: Final = frozenset({"ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNKNOWN"})
"""gRPC codes that a later attempt may not get."""
_ADVICE: Final = {
    "NOT_FOUND": "there is no such subscription; `gcloud pubsub subscriptions create` makes one, of a topic that there is",
    "PERMISSION_DENIED": "pulling is not permitted; the account needs the role roles/pubsub.subscriber on the subscription",
    "UNAUTHENTICATED": "the credentials are not accepted; `gcloud auth application-default login` gets some, or"
    " GOOGLE_APPLICATION_CREDENTIALS names a key file",
}
_UNSERVED: Final = "it does not serve pulls: it must be a pull subscription, neither push nor export, and not detached from its topic"


class Received(NamedTuple):
    """One delivery of a message. `published` in nanoseconds since the epoch."""

    ack_id: str
    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str
    published: int


class PassingError(Exception):
    """A call that failed and may not the next time; says the gRPC code."""


class Client(Protocol):
    """The calls about one subscription. Each raises PassingError, or SourceError where no later attempt can do better."""

    def pull(self, most: int, seconds: float) -> list[Received]:
        """Up to `most` messages, as soon as there are any; none where none came within `seconds`."""

    def extend(self, ack_ids: Sequence[str], seconds: int) -> None:
        """Deliver these to nobody else for so long from now on; 0 gives them back. At most IDS_OF_CALL."""

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Never deliver these again. At most IDS_OF_CALL."""

    def close(self) -> None:
        """Close the connections; calls under way fail."""


class GoogleClient:
    """google-cloud-pubsub. `PUBSUB_EMULATOR_HOST` names another server, without TLS or credentials, as everywhere."""

    def __init__(self, subscription: str) -> None:
        """Raises SourceError where there are no credentials. Connects with the first call."""
        # The library's own logging of requests, which an environment variable turns on, would print what messages say.
        logging.getLogger("google.pubsub_v1.services.subscriber.transports.grpc").disabled = True
        import grpc  # noqa: PLC0415 - the base install has no Google client
        from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
        from google.pubsub_v1 import SubscriberClient, types  # noqa: PLC0415
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport as Transport  # noqa: PLC0415

        self._name = subscription
        self._types = types
        self._failures = (GoogleAPICallError, GoogleAuthError, ValueError)  # the last of a channel that is closed
        limits = [("grpc.max_receive_message_length", LARGEST_ANSWER), ("grpc.max_send_message_length", -1)]
        # A connection whose other end is gone without a word would let a pull wait for ever.
        options = [*limits, ("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000)]
        # A server that comes back should not have to wait for two minutes.
        options += [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 5_000)]
        emulator = os.environ.get("PUBSUB_EMULATOR_HOST")

        def channel(host: str, **settings: Any) -> Any:
            return Transport.create_channel(host, **{**settings, "options": options})

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on end-user credentials and on old Pythons
            try:
                if emulator:  # the library would take gRPC's limit of 4 MB for it
                    self._client = SubscriberClient(transport=Transport(channel=grpc.insecure_channel(emulator, options)))
                else:
                    self._client = SubscriberClient(transport=partial(Transport, channel=channel))
            except GoogleAuthError as error:
                raise SourceError(f"{_uri(subscription)}: {_ADVICE['UNAUTHENTICATED']}") from error

    def pull(self, most: int, seconds: float) -> list[Received]:
        """As the protocol says."""
        request = self._types.PullRequest(subscription=self._name, max_messages=most)
        try:
            answer = self._client.pull(request=request, retry=None, timeout=seconds)
        except self._failures as error:
            # Without messages the server answers when it likes: silence means that there are none, if it answers anything else.
            if _code(error) == "DEADLINE_EXCEEDED" and self._answers():
                return []
            raise self._meant(error) from None
        return [
            Received(
                each.ack_id,
                each.message.message_id,
                each.message.data,
                dict(each.message.attributes),
                each.message.ordering_key,
                each.message.publish_time.ToNanoseconds(),
            )
            for each in self._types.PullResponse.pb(answer).received_messages
        ]

    def _answers(self) -> bool:
        """Whether the server is there: it may refuse a call that names no message, but not for want of a connection."""
        try:
            self.extend((), 0)
        except PassingError:
            return False
        except SourceError:
            pass
        return True

    def extend(self, ack_ids: Sequence[str], seconds: int) -> None:
        """As the protocol says."""
        request = self._types.ModifyAckDeadlineRequest(subscription=self._name, ack_ids=list(ack_ids), ack_deadline_seconds=seconds)
        try:
            self._client.modify_ack_deadline(request=request, retry=None, timeout=CALL_SECONDS)
        except self._failures as error:
            raise self._meant(error) from None

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """As the protocol says."""
        request = self._types.AcknowledgeRequest(subscription=self._name, ack_ids=list(ack_ids))
        try:
            self._client.acknowledge(request=request, retry=None, timeout=CALL_SECONDS)
        except self._failures as error:
            raise self._meant(error) from None

    def close(self) -> None:
        """As the protocol says."""
        self._client.transport.close()

    def _meant(self, error: Exception) -> Exception:
        code = _code(error)
        if code in PASSING:
            return PassingError(code)
        return SourceError(f"{_uri(self._name)}: {_ADVICE.get(code, _UNSERVED)} ({code})")


def _code(error: Exception) -> str:
    """The gRPC code; the texts of errors may quote what was sent."""
    code = getattr(error, "grpc_status_code", None)
    return "UNKNOWN" if code is None else code.name


def _uri(subscription: str) -> str:
    return f"pubsub://{subscription}"
