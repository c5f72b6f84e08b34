"""Network addresses."""

from __future__ import annotations

import pytest

from nodelink.address import Address, parse_address


@pytest.mark.parametrize(
    "text, address, loopback",
    [
        ("127.0.0.1:50051", Address("127.0.0.1", 50051), True),
        ("127.8.0.1:0", Address("127.8.0.1", 0), True),
        ("[::1]:80", Address("::1", 80), True),
        ("localhost:1", Address("localhost", 1), True),
        ("0.0.0.0:1", Address("0.0.0.0", 1), False),
        ("[::]:1", Address("::", 1), False),
        ("10.0.0.1:1", Address("10.0.0.1", 1), False),
        ("127.0.0.1.example.org:1", Address("127.0.0.1.example.org", 1), False),
    ],
)
def test_addresses_are_read_and_written_and_know_how_far_they_reach(
    text: str, address: Address, loopback: bool
) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert address.is_loopback is loopback


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":80", "host:x", "host:65536", "host:-1", "::1:80", "host:\uff18"]
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address; write"):
        parse_address(text)


def test_a_url_is_told_that_an_address_has_no_scheme() -> None:
    with pytest.raises(ValueError, match="without a scheme"):
        parse_address("http://127.0.0.1:8080")
