# SPDX-License-Identifier: Apache-2.0
"""A tap: stands between a client and the broker and writes down every AMQP frame that passes."""
import socket
import struct
import threading
from dataclasses import dataclass

from amqp import basic_message, serialization

from broker import free_port

METHODS = {  # class and method: name, types of the arguments, their names
    (10, 11): ('connection.start-ok', 'FsSs', 'client_properties mechanism response locale'),
    (10, 31): ('connection.tune-ok', 'BlB', 'channel_max frame_max heartbeat'),
    (10, 40): ('connection.open', 'ssb', 'virtual_host capabilities insist'),
    (10, 50): ('connection.close', 'BsBB', 'reply_code reply_text class_id method_id'),
    (10, 51): ('connection.close-ok', '', ''),
    (20, 10): ('channel.open', 's', 'out_of_band'),
    (20, 40): ('channel.close', 'BsBB', 'reply_code reply_text class_id method_id'),
    (20, 41): ('channel.close-ok', '', ''),
    (40, 10): ('exchange.declare', 'BssbbbbbF',
               'ticket exchange type passive durable auto_delete internal nowait arguments'),
    (50, 10): ('queue.declare', 'BsbbbbbF', 'ticket queue passive durable exclusive auto_delete nowait arguments'),
    (50, 20): ('queue.bind', 'BsssbF', 'ticket queue exchange routing_key nowait arguments'),
    (60, 10): ('basic.qos', 'lBb', 'prefetch_size prefetch_count global'),
    (60, 20): ('basic.consume', 'BssbbbbF',
               'ticket queue consumer_tag no_local no_ack exclusive nowait arguments'),
    (60, 30): ('basic.cancel', 'sb', 'consumer_tag nowait'),
    (60, 40): ('basic.publish', 'Bssbb', 'ticket exchange routing_key mandatory immediate'),
    (60, 80): ('basic.ack', 'Lb', 'delivery_tag multiple'),
    (60, 90): ('basic.reject', 'Lb', 'delivery_tag requeue'),
    (85, 10): ('confirm.select', 'b', 'nowait'),
}
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8


@dataclass
class Frame:
    """What a client sent. A method has its arguments, a header the properties, a body its octets."""
    kind: int
    channel: int
    raw: bytes
    name: str = ''
    args: object = None


def decode(kind, channel, payload, raw):
    frame = Frame(kind, channel, raw)
    if kind == METHOD:
        ids = struct.unpack('>HH', payload[:4])
        frame.name, types, names = METHODS.get(ids, ('%d.%d' % ids, '', ''))
        if types:
            values, _ = serialization.loads(types, payload, 4)
            frame.args = dict(zip(names.split(), values))
    elif kind == HEADER:
        class_id, _, size = struct.unpack('>HHQ', payload[:12])
        message = basic_message.Message()
        message._load_properties(class_id, payload, 12)
        frame.name, frame.args = 'header', {'body_size': size, 'properties': message.properties}
    elif kind == BODY:
        frame.name, frame.args = 'body', payload
    else:
        frame.name = 'heartbeat'
    return frame


class Tap:
    """Each client of `port` gets a connection to the broker of its own; what it sends is in `frames`,
    a list a connection, oldest first."""

    def __init__(self, broker):
        self.to, self.port = broker.port, free_port()
        self.connections = []
        self.sockets = []
        self.server = socket.create_server(('127.0.0.1', self.port))
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for s in [self.server, *self.sockets]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    @property
    def frames(self):
        """Of all connections, one after the other."""
        return [frame for frames in self.connections for frame in frames]

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
                broker = socket.create_connection(('127.0.0.1', self.to))
            except OSError:
                return
            self.sockets += [client, broker]
            frames = []
            self.connections.append(frames)
            for source, sink, keep in ((client, broker, frames), (broker, client, None)):
                threading.Thread(target=self.pass_on, args=(source, sink, keep), daemon=True).start()

    def pass_on(self, source, sink, keep):
        rest, head = b'', True
        try:
            while data := source.recv(65536):
                if keep is not None:
                    rest += data
                    rest, head = self.cut(rest, head, keep)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    @staticmethod
    def cut(rest, head, keep):
        """Whole frames off the front of `rest`; the first eight octets are the protocol header."""
        if head:
            if len(rest) < 8:
                return rest, True
            keep.append(Frame(0, 0, rest[:8], 'protocol-header'))
            rest = rest[8:]
        while len(rest) >= 7:
            kind, channel, size = struct.unpack('>BHI', rest[:7])
            if len(rest) < size + 8:
                break
            keep.append(decode(kind, channel, rest[7:7 + size], rest[:size + 8]))
            rest = rest[size + 8:]
        return rest, False
