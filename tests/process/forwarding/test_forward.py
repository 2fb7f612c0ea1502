"""A forward carries every byte, ends when either side does, and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

import pytest

from manta.client.kube import carrying, kubeconfig
from manta.client.kube.forward import Forward
from manta.core import errors
from tests.process.forwarding.conftest import ADDRESS
from tests.support import kube_api
from tests.support.waiting import wait_until

pytestmark = pytest.mark.shared_cluster

SAYS_S = 20.0


class Target:
    """A port of the pod: does `talk` with everybody who comes."""

    def __init__(self, talk):
        self._server = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self._server.getsockname()[1]
        self._talk = talk
        self._threads = [threading.Thread(target=self._run)]
        self._threads[0].start()

    def _run(self):
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock):
        with sock:
            sock.settimeout(SAYS_S)
            try:
                self._talk(sock)
            except OSError:
                pass

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(SAYS_S)


def echo(sock):
    while data := sock.recv(1 << 16):
        sock.sendall(data)


@pytest.fixture
def forward(api):
    made = Forward(kubeconfig.find(), ADDRESS)
    made.cluster = (kube_api.NAMESPACE, kube_api.NAME, kube_api.UID)
    yield made
    made.close()


@pytest.fixture
def target(api):
    """Has a port of the pod do something."""
    made = []

    def make(talk, port=9000):
        made.append(Target(talk))
        api.ports[port] = made[-1].port
        return port

    yield make
    for one in made:
        one.close()


def all_of(sock):
    parts = []
    while data := sock.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


def test_what_is_said_is_heard_both_ways(forward, target):
    value = os.urandom(3 << 20)
    with forward.dial(target(echo), 10) as sock:
        sender = threading.Thread(target=sock.sendall, args=(value,))
        sender.start()
        heard = b""
        while len(heard) < len(value):
            heard += sock.recv(1 << 16)
        sender.join()

    assert heard == value


def test_a_port_of_this_machine_is_forwarded(forward, target, monkeypatch):
    monkeypatch.setattr(carrying, "LINGER_S", 0.05)
    port = forward.listen(target(echo))
    socks = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(20)]
    for number, sock in enumerate(socks):
        sock.sendall(b"%d" % number)

    assert [sock.recv(10) for sock in socks] == [b"%d" % number for number in range(20)]
    for sock in socks:
        sock.close()


def test_who_has_said_all_still_hears_the_answer(api, forward, target):
    """There is no word for it in between; the connection stays as long as something comes."""

    def answer(sock):
        assert sock.recv(100) == b"go"
        sock.sendall(b"x" * (2 << 20))

    with socket.create_connection(("127.0.0.1", forward.listen(target(answer))), 10) as sock:
        sock.sendall(b"go")
        sock.shutdown(socket.SHUT_WR)

        assert all_of(sock) == b"x" * (2 << 20)
    wait_until(lambda: api.connections == 0)


def test_who_is_not_answered_any_more_does_not_wait_for_ever(api, forward, target, monkeypatch):
    monkeypatch.setattr(carrying, "LINGER_S", 0.05)
    port = forward.listen(target(lambda sock: sock.recv(100) and sock.recv(100)))
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"x")
        sock.shutdown(socket.SHUT_WR)

        assert all_of(sock) == b""
    wait_until(lambda: api.connections == 0)


def test_the_end_there_is_the_end_here(forward, target):
    with forward.dial(target(lambda sock: sock.sendall(b"bye")), 10) as sock:
        assert all_of(sock) == b"bye"


def test_the_end_here_is_the_end_there(forward, target):
    over = threading.Event()

    def until_over(sock):
        while sock.recv(100):
            pass
        over.set()

    forward.dial(target(until_over), 10).close()

    assert over.wait(SAYS_S)


def test_a_cut_is_an_end(api, forward, target):
    with forward.dial(target(echo), 10) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        api.cut()

        assert all_of(sock) == b""


def test_a_reader_that_does_not_read_costs_no_memory(forward, target):
    """What cannot be delivered waits where it comes from."""
    sent = []
    full = threading.Event()

    def pour(sock):
        sock.settimeout(0.5)
        try:
            while len(sent) < 2000:
                sock.sendall(b"x" * (1 << 16))
                sent.append(1)
        except TimeoutError:
            full.set()

    with forward.dial(target(pour), 10):
        assert full.wait(SAYS_S)
    assert len(sent) < 1000


def test_what_the_other_end_complains_of_is_kept(forward):
    with forward.dial(1234, 10) as sock:
        assert all_of(sock) == b""

    assert type(forward.failure) is errors.PortForwardError
    assert "forwarding to port 1234 of pod demo-head failed" in str(forward.failure)


def test_who_is_not_answered_in_time_is_told_and_leaves_nothing_behind(api, forward, target):
    """Whenever the time ends: before the thread has begun, while the API server is asked, when the way is just open."""
    port = target(echo)
    before = len(os.listdir("/proc/self/fd"))
    for microseconds in [0, 50, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000] * 5:
        with contextlib.suppress(errors.KubernetesUnreachableError):
            forward.dial(port, microseconds / 1e6).close()

    with pytest.raises(errors.KubernetesUnreachableError, match="did not answer within"):
        forward.dial(port, 0)
    with forward.dial(port, 10) as sock:  # the loop watches no descriptor of theirs
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
    wait_until(lambda: api.connections == 0)
    # The API server's two ends of a connection that is kept, too.
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before + 4, what="their sockets are closed")


def test_closing_ends_everything(api, forward, target):
    port = forward.listen(target(echo))
    near = forward.dial(target(echo), 10)
    forward.close()

    assert near.recv(1) == b""
    near.close()
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port), 10)
    with pytest.raises(errors.KubernetesUnreachableError, match="is closed"):
        forward.dial(9000, 10)
    wait_until(lambda: api.connections == 0)


def test_closing_leaves_no_socket_to_an_api_server_that_says_nothing_any_more(api, forward, target):
    """TLS has words for the end, and waits for an answer: nobody would close the socket when the thread has ended."""
    over = threading.Event()
    near = forward.dial(target(echo), 10)
    api.stall(over)
    try:
        forward.close()
        assert not forward._thread.is_alive()
        assert [sock for sock in forward._server._sockets if sock.fileno() != -1] == []
    finally:
        over.set()
        near.close()


def test_a_forked_process_has_none_of_it(forward, target):
    port = target(echo)
    child = os.fork()
    if not child:
        try:
            forward.close()  # its parent's goes on
            forward.dial(port, 1)
        except errors.KubernetesUnreachableError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    with forward.dial(port, 10) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"


def test_a_taken_port_is_said(forward, target):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        forward.listen(9000, taken.getsockname()[1])
