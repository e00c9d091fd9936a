# SPDX-License-Identifier: Apache-2.0
"""A client that costs next to nothing, so that the server is what is measured."""
import http.client
import json
import os
import socket


class Connection:
    """Small requests, one at a time."""

    def __init__(self, address):
        self.http = http.client.HTTPConnection(*address, timeout=60)

    def call(self, method, path, body=None):
        """(status, body of the answer)."""
        headers = {'Content-Type': 'application/json'} if body is not None else {}
        self.http.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        answer = self.http.getresponse()
        return answer.status, answer.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()


def stream_upload(address, path, source):
    """PUT a file; the kernel moves its octets (sendfile). Returns the status."""
    size = source.stat().st_size
    with socket.create_connection(address, timeout=600) as s, open(source, 'rb') as f:
        s.sendall(f'PUT {path} HTTP/1.1\r\nHost: {address[0]}\r\nContent-Type: application/octet-stream\r\n'
                  f'Content-Length: {size}\r\nConnection: close\r\n\r\n'.encode())
        s.setblocking(True)  # sendfile knows no timeout
        sent = 0
        try:
            while sent < size:
                sent += os.sendfile(s.fileno(), f.fileno(), sent, size - sent)
        except BrokenPipeError:
            pass  # it has refused already; why is in its answer
        return read_head(s)[0]


def discard_download(address, path):
    """GET a body and drop it in the kernel, uncopied (MSG_TRUNC). Returns the number of octets."""
    with socket.create_connection(address, timeout=600) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.sendall(f'GET {path} HTTP/1.1\r\nHost: {address[0]}\r\nConnection: close\r\n\r\n'.encode())
        status, got = read_head(s)
        if status != 200:
            raise RuntimeError(f'GET {path}: {status}')
        nowhere = bytearray(4 << 20)
        while n := s.recv_into(nowhere, len(nowhere), socket.MSG_TRUNC):
            got += n
        return got


def read_head(s):
    """(status, octets of the body that came with the head)."""
    head = b''
    while b'\r\n\r\n' not in head:
        data = s.recv(4096)
        if not data:
            raise RuntimeError('the connection ended before the answer')
        head += data
    head, body = head.split(b'\r\n\r\n', 1)
    return int(head.split(b' ', 2)[1]), len(body)
