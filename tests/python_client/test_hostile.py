"""A server that does not keep to the protocol: an error in one line, and no wait without an end."""

import contextlib
import os
import socket
import struct
import threading
import time

import numpy as np
from common import CARTPOLE, Place

from envpool_client import ProtocolError
from envpool_client.connection import Connection
from envpool_client.protocol import HEADER_BYTES, Kind, Open, decode_header, encode_header

N_ENVS, OBS_LEN = 8, 4


class Welcomed(Connection):
    """Remembers what it was welcomed with."""

    def _receive_control(self, due, *arguments, **keywords):
        body = super()._receive_control(due, *arguments, **keywords)
        if due is Kind.WELCOME:
            self.welcome = body
        return body


class Hostile(Place):
    def setUp(self):
        with Welcomed(CARTPOLE) as real:
            n = struct.unpack_from("<Q", real.welcome)[0]
            self.n_cost_kinds = len(real.specification.cost_kinds)
            # With whatever a client can do.
            self.welcome = real.welcome[: 8 + n] + struct.pack("<Q", 15) + real.welcome[16 + n :]
        path = self.folder / f"hostile-{time.monotonic_ns()}"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.addCleanup(self.listener.close)
        self.address = f"unix:{path}"

    def say_opened(self, stream, session, sharing=struct.pack("<I", 0)):
        """Says that a session is open, with so much of an Opened's end."""
        body = struct.pack("<IIIB", N_ENVS, OBS_LEN, self.n_cost_kinds, 0) + sharing
        stream.sendall(encode_header(Kind.OPENED, session, len(body)) + body)

    def serve(self, opened, then):
        """Answers the first Open as `opened` does, then does as `then` says."""

        def conversation():
            stream, _ = self.listener.accept()
            with stream, stream.makefile("rb") as reader:

                def take():
                    kind, session, length = decode_header(reader.read(HEADER_BYTES), "the client")
                    reader.read(length)
                    return kind, session

                take()
                stream.sendall(encode_header(Kind.WELCOME, 0, len(self.welcome)) + self.welcome)
                _, session = take()
                opened(stream, session)
                try:
                    then(stream, session, take)
                except OSError:
                    pass  # The client has hung up.

        thread = threading.Thread(target=conversation)
        thread.start()
        self.addCleanup(thread.join, 60)

    def test_files_are_not_mapped_that_a_server_on_a_socket_names(self):
        private = self.folder / "private"
        with open(os.open(private, os.O_CREAT | os.O_RDWR, 0o600), "wb") as file:
            file.write(b"SECRET--" * 4096)
        path = struct.pack("<Q", len(str(private))) + str(private).encode()
        for sharing in (struct.pack("<I", 1) + path + path, struct.pack("<I", 3)):
            self.serve(lambda *opened: self.say_opened(*opened, sharing), lambda *_: None)
            with Connection(address=self.address) as connection:
                with self.assertRaisesRegex(ProtocolError, "not agreed on"):
                    connection.open(Open(N_ENVS, 1))
        self.assertEqual(private.read_bytes(), b"SECRET--" * 4096)

    def test_descriptors_of_an_offer_that_is_refused_are_closed(self):
        file = self.folder / "given"
        file.write_bytes(bytes(4096))
        given = [os.open(file, os.O_RDONLY) for _ in range(2)]
        self.addCleanup(lambda: [os.close(descriptor) for descriptor in given])

        def n_open():
            """How many descriptors of this process are of that file."""
            count = 0
            for name in os.listdir("/dev/fd"):
                with contextlib.suppress(OSError):
                    count += os.path.samestat(os.fstat(int(name)), file.stat())
            return count

        def offer(stream, session):
            body = struct.pack("<IIIBI", N_ENVS, OBS_LEN + 1, self.n_cost_kinds, 0, 2)
            socket.send_fds(stream, [encode_header(Kind.OPENED, session, len(body)) + body], given)

        self.serve(offer, lambda *_: None)
        with Connection(address=self.address) as connection:
            with self.assertRaisesRegex(ProtocolError, "other shapes"):
                connection.open(Open(N_ENVS, 1))
            self.assertEqual(n_open(), len(given))

    def test_wake_ups_without_end_are_an_error(self):
        def flood(stream, session, take):
            take()
            while True:
                stream.sendall(encode_header(Kind.WAKE, session, 0) * 100)

        self.serve(self.say_opened, flood)
        with Connection(address=self.address) as connection:
            session = connection.open(Open(N_ENVS, 1))
            with self.assertRaisesRegex(ProtocolError, "wake-ups and no answer"):
                session.send(np.zeros(N_ENVS, "<i4"))
                session.receive()
