# SPDX-License-Identifier: Apache-2.0
"""What brokers of Kafka put in front of their clients: TLS, and a login by SASL. librdkafka's mock cluster has
neither, so this stands before it: one port for each of its brokers. It ends TLS, answers what belongs to the login,
and hands everything else on, to the octet but for the addresses of the brokers (which become its own) and the list
of requests (which gets those of the login)."""
import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
import threading

METADATA, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 3, 17, 18, 36
UNSUPPORTED_MECHANISM, ILLEGAL_STATE, UNSUPPORTED_VERSION, LOGIN_FAILED = 33, 34, 35, 58
ROUNDS = 4096
FRAME_MAX = 100 * 1024 * 1024


# -- how things are written ------------------------------------------------------------------------------

def receive(sock, n):
    """n octets; fewer if that was the end."""
    data = b''
    while len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            break
        data += more
    return data


def read_frame(sock):
    """The next message; None if there is none, or it is none of Kafka's."""
    head = receive(sock, 4)
    if len(head) < 4:
        return None
    n, = struct.unpack('>i', head)
    if not 0 <= n <= FRAME_MAX:
        return None
    data = receive(sock, n)
    return data if len(data) == n else None


def write_frame(sock, data):
    sock.sendall(struct.pack('>i', len(data)) + data)


def write_string(text):
    data = text.encode()
    return struct.pack('>h', len(data)) + data


def read_string(data, at):
    """The text (None: null) and where it ends."""
    n, = struct.unpack_from('>h', data, at)
    at += 2
    return (None, at) if n < 0 else (data[at:at + n].decode(), at + n)


def parameters_of_request(data):
    """What is behind the head: request, version, number, name of the client."""
    return data[read_string(data, 8)[1]:]


# -- answers of a broker that are changed ----------------------------------------------------------------

def with_login(answer):
    """The list of requests (of a version before 3) and those of the login."""
    error, n = struct.unpack_from('>hi', answer, 4)
    assert error == 0
    return (answer[:6] + struct.pack('>i', n + 2) + struct.pack('>hhh', SASL_HANDSHAKE, 0, 1) +
            struct.pack('>hhh', SASL_AUTHENTICATE, 0, 0) + answer[10:])


def with_addresses(answer, version, change):
    """The description of the cluster; change() gets host and port of a broker and returns others."""
    assert version < 9
    at = 8 if version >= 3 else 4
    n, = struct.unpack_from('>i', answer, at)
    at += 4
    new = answer[:at]
    for _ in range(n):
        node, = struct.unpack_from('>i', answer, at)
        host, at = read_string(answer, at + 4)
        port, = struct.unpack_from('>i', answer, at)
        rack = at + 4
        at = read_string(answer, rack)[1] if version >= 1 else rack
        host, port = change(host, port)
        new += struct.pack('>i', node) + write_string(host) + struct.pack('>i', port) + answer[rack:at]
    return new + answer[at:]


# -- logins: generators that get what the client says, yield what to answer, and return the user or None -----

def plain(_, users):
    _, user, password = (yield).decode().split('\0')
    return user if users.get(user) == password else None


def scram(algorithm, users):
    """RFC 5802, without the binding to a channel. As with Kafka it is enough if the nonce ends as it should:
    librdkafka before 2.6 puts its own before it twice."""
    def mac(key, text):
        return hmac.new(key, text, algorithm).digest()
    first = (yield).decode()
    bare = first.split(',', 2)[2]
    fields = dict(f.split('=', 1) for f in bare.split(','))
    user = fields['n'].replace('=2C', ',').replace('=3D', '=')
    salt, nonce = secrets.token_bytes(16), secrets.token_hex(8)
    challenge = f'r={fields["r"]}{nonce},s={base64.b64encode(salt).decode()},i={ROUNDS}'
    last = (yield challenge.encode()).decode()
    unsigned, proof = last.rsplit(',p=', 1)
    salted = hashlib.pbkdf2_hmac(algorithm, users.get(user, secrets.token_hex()).encode(), salt, ROUNDS)
    key = mac(salted, b'Client Key')
    text = ','.join([bare, challenge, unsigned]).encode()
    signature = mac(hashlib.new(algorithm, key).digest(), text)
    right = bytes(a ^ b for a, b in zip(key, signature))
    if not unsigned.split(',')[1].endswith(nonce) or not hmac.compare_digest(base64.b64decode(proof), right):
        return None
    yield b'v=' + base64.b64encode(mac(mac(salted, b'Server Key'), text))
    return user


MECHANISMS = {'PLAIN': (plain, None), 'SCRAM-SHA-256': (scram, 'sha256'), 'SCRAM-SHA-512': (scram, 'sha512')}


# -- the front ---------------------------------------------------------------------------------------------

class Connection:
    def __init__(self, front, client, broker):
        self.front, self.client, self.broker = front, client, broker
        self.login = self.mechanism = None
        self.known = front.users is None

    def answer(self, request):
        """None: there is no answer to that, the connection ends."""
        key, version, number = struct.unpack_from('>hhi', request)
        self.front.requests.append(key)
        if key == API_VERSIONS and version >= 3:
            return struct.pack('>ihihhh', number, UNSUPPORTED_VERSION, 1, API_VERSIONS, 0, 2)
        if key in (SASL_HANDSHAKE, SASL_AUTHENTICATE) and self.front.users is not None:
            step = self.begin_login if key == SASL_HANDSHAKE else self.go_on_login
            return struct.pack('>i', number) + step(parameters_of_request(request))
        if not self.known and key != API_VERSIONS:
            return None
        write_frame(self.broker, request)
        answer = read_frame(self.broker)
        if answer and key == METADATA:
            return with_addresses(answer, version, self.front.own_address)
        if answer and key == API_VERSIONS and self.front.users is not None:
            return with_login(answer)
        return answer

    def begin_login(self, parameters):
        self.mechanism = read_string(parameters, 0)[0]
        offered = b''.join(write_string(name) for name in self.front.mechanisms)
        error = 0 if self.mechanism in self.front.mechanisms else UNSUPPORTED_MECHANISM
        if not error:
            make, algorithm = MECHANISMS[self.mechanism]
            self.login = make(algorithm, self.front.users)
            next(self.login)
        return struct.pack('>hi', error, len(self.front.mechanisms)) + offered

    def go_on_login(self, parameters):
        if not self.login:
            return struct.pack('>hhi', ILLEGAL_STATE, -1, 0)
        reply, user = b'', None
        try:
            reply = self.login.send(parameters[4:])
            if reply.startswith(b'v='):
                next(self.login)
        except StopIteration as end:
            user, self.login = end.value, None
            if user is None:
                self.front.refused += 1
                return struct.pack('>h', LOGIN_FAILED) + write_string('no such user or password') + bytes(4)
            self.known = True
            self.front.logins.append((self.mechanism, user))
        return struct.pack('>hhi', 0, -1, len(reply)) + reply

    def run(self):
        while request := read_frame(self.client):
            answer = self.answer(request)
            if answer is None:
                return
            write_frame(self.client, answer)


class Front:
    """`users` (name: password): a login is asked for. `certificate` (certificate, key): TLS; with `client_ca` a
    client has to show a certificate of that authority."""

    def __init__(self, cluster, host='localhost', certificate=None, client_ca=None, users=None, mechanisms=MECHANISMS):
        self.host, self.users, self.mechanisms = host, users, list(mechanisms)
        self.certificate, self.client_ca = certificate, client_ca
        self.requests, self.logins, self.peers, self.refused = [], [], [], 0
        self.ports, self.listeners, self.open = {}, [], set()
        for broker in cluster.hosts.split(','):
            address, port = broker.rsplit(':', 1)
            listener = socket.create_server(('127.0.0.1', 0))
            self.listeners.append(listener)
            self.ports[int(port)] = listener.getsockname()[1]
            threading.Thread(target=self.listen, args=(listener, (address, int(port))), daemon=True).start()

    def own_address(self, _, port):
        return self.host, self.ports[port]

    def url(self, credentials='', path='/'):
        return 'kafka://' + ','.join(f'{credentials}{self.host}:{port}' for port in self.ports.values()) + path

    def listen(self, listener, broker):
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client, broker), daemon=True).start()

    def wrapped(self, client):
        if not self.certificate:
            return client
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.client_ca)
        context.load_cert_chain(*self.certificate)
        context.verify_mode = ssl.CERT_REQUIRED if self.client_ca else ssl.CERT_NONE
        client = context.wrap_socket(client, server_side=True)
        if self.client_ca:
            self.peers.append(dict(pair for rdn in client.getpeercert()['subject'] for pair in rdn)['commonName'])
        return client

    def serve(self, client, broker):
        """Whatever goes wrong is for the client to find out."""
        try:
            with client, self.wrapped(client) as shown, socket.create_connection(broker) as behind:
                self.open |= {shown, behind}
                Connection(self, shown, behind).run()
        except OSError:
            pass

    def close(self):
        for s in [*self.listeners, *self.open]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for listener in self.listeners:
            listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
