"""Addresses, pauses and time limits of single attempts."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time

import pytest
from receiver import Receiver

from runicorn_notify.addresses import ForbiddenAddress, is_permitted, resolve
from runicorn_notify.notifications import Notification
from runicorn_notify.settings import Settings
from runicorn_notify.webhook import NotDelivered, backoff, deliver

TEST = Notification("an-id", "test", 1.0, "", {})


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1", "fe80::1%1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::"),
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not is_permitted(ipaddress.ip_address(address), [])


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_permitted(address: str) -> None:
    assert is_permitted(ipaddress.ip_address(address), [])


def test_an_allowed_network_permits_its_addresses_and_no_others() -> None:
    allowed = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("::1/128")]
    assert is_permitted(ipaddress.ip_address("10.1.2.3"), allowed)
    assert is_permitted(ipaddress.ip_address("::ffff:10.1.2.3"), allowed)
    assert is_permitted(ipaddress.ip_address("::1"), allowed)
    assert not is_permitted(ipaddress.ip_address("10.2.0.1"), allowed)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "[::1]".strip("[]")])
def test_other_spellings_of_the_loopback_are_refused(host: str) -> None:
    with pytest.raises(ForbiddenAddress):
        resolve(host, 80, [])


def test_pauses_double_up_to_a_limit_and_have_a_part_of_chance() -> None:
    for attempt, longest in ((1, 0.5), (2, 1.0), (3, 2.0), (10, 8.0)):
        pauses = [backoff(attempt, 0.5) for _ in range(50)]
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 1


def test_it_is_sent_as_often_as_the_settings_say_with_pauses_between(receiver: Receiver) -> None:
    receiver.answer = lambda number: 500
    pauses: list[float] = []
    with pytest.raises(NotDelivered, match="answered 500, 3 times"):
        deliver(TEST, _settings(receiver.url, attempts=3), pause=pauses.append)
    assert len(receiver.received) == 3
    assert len(pauses) == 2
    assert {headers["Runicorn-Delivery"] for headers, _ in receiver.received} == {"an-id"}


def test_a_receiver_that_drips_is_hung_up_on() -> None:
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                for _ in range(600):
                    try:
                        connection.sendall(b"X-A: b\r\n")
                    except OSError:
                        break
                    if ended.wait(0.05):
                        break

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        try:
            with pytest.raises(NotDelivered):
                deliver(TEST, _settings(url, attempts=1, timeout_s=0.3))
            assert time.monotonic() - started < 25, "it ended long before the receiver would have"
        finally:
            ended.set()
            thread.join()


def _settings(url: str, **more: object) -> Settings:
    return Settings(url=url, secret="0" * 16, allow_networks=["127.0.0.0/8"], **more)  # type: ignore[arg-type]  # fields of several types
