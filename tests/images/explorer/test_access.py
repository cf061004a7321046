"""Who may talk to the page."""

import socket

import pytest

from stylegan_jax.images.explorer import access


@pytest.mark.parametrize("host", ["localhost:8000", "localhost", "127.0.0.1:9000", "[::1]:8000", "192.168.1.5:80"])
def test_localhost_and_addresses_in_digits_may(host):
    assert access.refusal(host, None, frozenset()) is None
    assert access.refusal(host, f"http://{host}", frozenset()) is None


@pytest.mark.parametrize(
    "host", [None, "", "evil.com", "evil.com:8000", "localhost.evil.com", "127.0.0.1.evil.com", "[::1", "127.1:80"]
)
def test_another_name_may_not(host):
    assert "answers to localhost and to addresses in digits" in access.refusal(host, None, frozenset())


@pytest.mark.parametrize(
    "origin", ["http://evil.com", "http://localhost:3000", "http://127.0.0.1:8000", "null", "", "ftp://localhost:8000"]
)
def test_a_page_of_another_origin_may_not(origin):
    assert "another page" in access.refusal("localhost:8000", origin, frozenset())


def test_a_server_for_others_answers_to_its_own_names():
    assert access.names_of("127.0.0.1") == access.names_of("localhost") == access.names_of("::1") == frozenset()
    names = access.names_of("0.0.0.0")
    assert socket.gethostname().lower() in names
    assert access.refusal(f"{socket.gethostname()}:8000", None, names) is None
    assert access.refusal("other:8000", None, names) is not None
