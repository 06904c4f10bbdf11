"""What the scan for credentials says of a body does not depend on what it has seen before."""

from __future__ import annotations

from transforms.audit.needles import examine


def test_a_body_that_is_seen_again_is_as_innocent_as_at_first():
    for value in (b"8080", b"8081", b"8080"):
        body = b'{"env":[{"name":"PORT","value":"%s"}]}' % value
        assert examine(body) == (body, 0, 0)
