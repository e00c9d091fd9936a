# SPDX-License-Identifier: Apache-2.0
"""A RabbitMQ of our own: Debian's, one node on free loopback ports, everything it writes in one directory.

It has its own name, cookie, epmd, data and log, so any number can run beside each other and beside one
that the machine runs anyway. What a test does to it (alarms, users, queues) goes over the distribution
port by erl_call, which takes milliseconds where rabbitmqctl takes seconds.
"""
import errno
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import urllib.parse
from glob import glob
from pathlib import Path

import amqp

from harness import DEADLINE, wait_for

BOOT_SECONDS = 2 * DEADLINE
HELLO = b'AMQP\x00\x00\x09\x01'


def free_port():
    """Below the ports that the kernel gives to clients: while the broker is away, nobody takes it by
    chance, and no client on its way to it can end up connected to itself."""
    while True:
        port = random.SystemRandom().randint(20000, 31999)
        with socket.socket() as s:
            try:
                s.bind(('127.0.0.1', port))
                return port
            except OSError:
                continue


def speaks_amqp(port, wrap=None):
    """Does the port say Connection.Start?"""
    try:
        with socket.create_connection(('127.0.0.1', port), timeout=2) as plain:
            s = wrap(plain) if wrap else plain
            s.sendall(HELLO)
            return s.recv(1) == b'\x01'
    except OSError:
        return False


def text(value):
    """An Erlang binary."""
    assert re.fullmatch(r'[\x20-\x7e]*', value) and '"' not in value and '\\' not in value, value
    return f'<<"{value}">>'


# -- certificates --------------------------------------------------------------------------------------

class Certificates:
    """An authority, a certificate of its for a broker called `localhost` (and nothing else), one for a client,
    and an authority that has signed none of them."""

    def __init__(self, root):
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.ca, self.other_ca = self.authority('ca'), self.authority('other')
        self.server = self.signed('server', 'subjectAltName=DNS:localhost')
        self.client = self.signed('client', 'extendedKeyUsage=clientAuth')

    def openssl(self, *words):
        subprocess.run(['openssl', *map(str, words)], check=True, capture_output=True, cwd=self.root)

    def authority(self, name):
        self.openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
                     '-subj', f'/CN=test authority {name}', '-keyout', f'{name}.key', '-out', f'{name}.pem')
        return self.root / f'{name}.pem'

    def signed(self, name, extension):
        """(certificate, key)"""
        self.openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                     '-subj', f'/CN=test {name}', '-keyout', f'{name}.key', '-out', f'{name}.csr')
        (self.root / f'{name}.ext').write_text(extension + '\n')
        self.openssl('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial',
                     '-days', '2', '-extfile', f'{name}.ext', '-out', f'{name}.pem')
        return self.root / f'{name}.pem', self.root / f'{name}.key'


# -- the broker ----------------------------------------------------------------------------------------

class Broker:
    USER = 'glint'

    def __init__(self, root, password=None):
        self.root = Path(root)
        self.port, self.tls_port = free_port(), free_port()
        self.epmd_port, self.dist_port = free_port(), free_port()
        self.node = f'glint{self.port}@localhost'
        self.cookie = secrets.token_hex(12)
        self.password = password or secrets.token_hex(8)
        self.process = self.epmd = None
        self.frozen = False
        self.logs = self.root / 'log'
        self.certificates = Certificates(self.root / 'tls')
        self.write_files()

    def write_files(self):
        for directory in (self.root, self.logs, self.root / 'mnesia'):
            directory.mkdir(parents=True, exist_ok=True)
        cookie = self.root / '.erlang.cookie'
        cookie.write_text(self.cookie)
        cookie.chmod(0o400)
        (self.root / 'enabled_plugins').write_text('[].\n')
        (self.root / 'rabbitmq.conf').write_text(
            f'listeners.tcp.default = 127.0.0.1:{self.port}\n'
            f'default_user = {self.USER}\ndefault_pass = {self.password}\n'
            'log.file.level = info\nlog.console = false\n'
            'vm_memory_high_watermark.absolute = 4GB\ndisk_free_limit.absolute = 10MB\n'
            f'listeners.ssl.default = 127.0.0.1:{self.tls_port}\n'
            f'ssl_options.cacertfile = {self.certificates.ca}\n'
            f'ssl_options.certfile = {self.certificates.server[0]}\n'
            f'ssl_options.keyfile = {self.certificates.server[1]}\n'
            'ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = false\n')

    def environment(self):
        """What Debian's start script reads. It takes no file of the machine's own configuration."""
        return {
            'PATH': os.environ['PATH'], 'HOME': str(self.root), 'LANG': 'C.UTF-8',
            'RABBITMQ_NODENAME': self.node, 'RABBITMQ_NODE_IP_ADDRESS': '127.0.0.1',
            'RABBITMQ_NODE_PORT': str(self.port), 'RABBITMQ_DIST_PORT': str(self.dist_port),
            'ERL_EPMD_PORT': str(self.epmd_port), 'ERL_EPMD_ADDRESS': '127.0.0.1',
            'RABBITMQ_MNESIA_BASE': str(self.root / 'mnesia'), 'RABBITMQ_LOG_BASE': str(self.logs),
            'RABBITMQ_CONFIG_FILE': str(self.root / 'rabbitmq.conf'),
            'RABBITMQ_ADVANCED_CONFIG_FILE': str(self.root / 'advanced.config'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(self.root / 'enabled_plugins'),
            'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': '-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none',
            'RABBITMQ_ALLOW_INPUT': '1',  # the script becomes the broker, so that the pid is the broker's
        }

    # -- up and down -----------------------------------------------------------------------------------

    def start(self, wait=True):
        if self.epmd is None:
            self.epmd = self.spawn('epmd', ['epmd', '-address', '127.0.0.1', '-port', str(self.epmd_port),
                                            '-relaxed_command_check'])
        self.process = self.spawn('stdout', self.command())
        return self.wait_up() if wait else self

    def spawn(self, name, command):
        with open(self.logs / name, 'ab') as out:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.root,
                                    env=self.environment(), start_new_session=True)

    def command(self):
        server, = glob('/usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server')
        return [server, '-noinput']

    def wait_up(self):
        """Until it has finished starting; then its ports answer and `call` works."""
        def up():
            if self.process.poll() is not None:
                raise AssertionError('RabbitMQ ended: ' + (self.logs / 'stdout').read_text()[-2000:])
            return speaks_amqp(self.port) and self.try_call('rabbit:is_running()') == 'true'
        wait_for(up, self.logs, 'RabbitMQ', BOOT_SECONDS)
        return self

    def end(self, how):
        self.thaw()
        if self.process:
            os.kill(self.process.pid, how)
            self.process.wait(BOOT_SECONDS)
        self.process = None

    def stop(self):
        """As an operator stops it: connections are closed politely."""
        self.end(signal.SIGTERM)

    def kill(self):
        self.end(signal.SIGKILL)

    def freeze(self):
        os.kill(self.process.pid, signal.SIGSTOP)
        self.frozen = True

    def thaw(self):
        if self.frozen:
            os.kill(self.process.pid, signal.SIGCONT)
        self.frozen = False

    def recover(self):
        """Whatever a test has done to it is undone."""
        self.thaw()
        self.memory_alarm(False)
        self.disk_alarm(False)
        self.set_password(self.password)

    def close(self):
        """For good. Nothing of it is wanted any more, so there is no reason to be polite."""
        self.kill()
        if self.epmd:
            self.epmd.kill()
            self.epmd.wait()
        self.epmd = None

    # -- orders ----------------------------------------------------------------------------------------

    def try_call(self, expression):
        """The value of an Erlang expression, as Erlang writes it; None if there is none."""
        try:
            # under a name of its own: the node refuses one whose last visit it has not forgotten yet
            done = subprocess.run(['erl_call', '-r', '-sname', self.node, '-c', self.cookie, '-e'],
                                  input=expression + '.\n', env=self.environment(), capture_output=True, text=True,
                                  timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            return None
        m = re.fullmatch(r'\{ok, (.*)\}\s*', done.stdout, re.DOTALL)
        return re.sub(r'#Bin<([\d,]*)>', lambda b: bytes(int(n) for n in b[1].split(',') if n).decode(errors='replace'),
                      m.group(1)) if m else None

    def call(self, expression):
        answer = self.try_call(expression)
        if answer is None:  # it is on its way up
            self.wait_up()
            answer = self.try_call(expression)
        assert answer is not None and not answer.startswith('{error'), f'{expression}: {answer}'
        return answer

    def memory_alarm(self, on):
        """It stops reading from those who publish, and tells them so (connection.blocked)."""
        self.call(f'vm_memory_monitor:set_vm_memory_high_watermark({"0.00001" if on else "0.4"})')

    def disk_alarm(self, on):
        """What it does when its disk is nearly full: the same."""
        self.call(f'rabbit_disk_monitor:set_disk_free_limit({10 ** 18 if on else 10 ** 7})')

    def add_user(self, user, password, vhost='/'):
        self.call(f'rabbit_auth_backend_internal:add_user({text(user)}, {text(password)}, <<"tests">>)')
        self.permit(user, vhost)

    def permit(self, user, vhost):
        self.call(f'rabbit_auth_backend_internal:set_permissions({text(user)}, {text(vhost)}, <<".*">>, <<".*">>,'
                  ' <<".*">>, <<"tests">>)')

    def set_password(self, password, user=USER):
        """Connections that are open stay; new ones need the new password."""
        self.call(f'rabbit_auth_backend_internal:change_password({text(user)}, {text(password)}, <<"tests">>)')

    def add_vhost(self, vhost):
        self.call(f'rabbit_vhost:add({text(vhost)}, <<"tests">>)')
        self.permit(self.USER, vhost)

    def client(self, vhost='/'):
        """A connection to it, for `with`."""
        return amqp.Connection(host=self.address, userid=self.USER, password=self.password, virtual_host=vhost,
                               connect_timeout=DEADLINE)

    def queues(self, vhost):
        """Those of a vhost by name, with how they were declared."""
        rows = self.call(
            '[[binary_to_list(element(4, amqqueue:get_name(Q))), amqqueue:is_durable(Q), amqqueue:is_auto_delete(Q)]'
            f' || Q <- rabbit_amqqueue:list({text(vhost)})]')
        return {name: {'durable': durable == 'true', 'auto_delete': auto == 'true'}
                for name, durable, auto in re.findall(r'\["([^"]*)", (\w+), (\w+)\]', rows)}

    def connections(self, *items):
        """What the broker knows about those connected, as Erlang writes it."""
        return self.call(f'rabbit_networking:connection_info_all([{", ".join(items)}])')

    def close_connections(self):
        """The broker throws everybody out."""
        self.call('rabbit_networking:close_all_connections("told to")')

    # -- addresses -------------------------------------------------------------------------------------

    @property
    def address(self):
        return f'127.0.0.1:{self.port}'

    def url(self, vhost='/', port=None, host='127.0.0.1'):
        """A transport_url."""
        path = '' if vhost == '/' else urllib.parse.quote(vhost, safe='')
        return f'rabbit://{self.USER}:{self.password}@{host}:{port or self.port}/{path}'


# -- a small disk --------------------------------------------------------------------------------------

class SmallDisk:
    """A file system of its own over a directory: of `size`, and seen by those only who go in by `enter`. It lasts
    until close(), whoever ends before. NotPermitted where the system allows no such thing."""
    class NotPermitted(Exception):
        pass

    def __init__(self, directory, size):
        self.directory = Path(directory)
        me = [] if os.getuid() == 0 else ['--map-root-user']
        self.keeper = subprocess.Popen(
            ['unshare', '--mount', *me, 'sh', '-c', 'mount -t tmpfs -o "size=$1" none "$0" && echo mounted && exec cat',
             str(self.directory), size], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.keeper.stdout.readline() != 'mounted\n':
            self.close()
            raise self.NotPermitted(self.keeper.stderr.read())

    @property
    def enter(self):
        """What stands before a command that shall see it."""
        me = [] if os.getuid() == 0 else ['--user', '--preserve-credentials']
        return ['nsenter', f'--target={self.keeper.pid}', '--mount', *me, '--']

    @property
    def filler(self):
        return Path(f'/proc/{self.keeper.pid}/root{self.directory}/filler')

    def fill(self):
        """To the last octet."""
        with open(self.filler, 'wb', buffering=0) as f:
            step = 1 << 26
            while step:
                try:
                    os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size, step)
                except OSError as e:
                    assert e.errno == errno.ENOSPC
                    step //= 2

    def clear(self):
        self.filler.unlink()

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait(DEADLINE)


class SmallBroker(Broker):
    """What it has to keep it keeps on a SmallDisk. It raises no alarm before that is full."""
    SIZE = '64m'

    def __init__(self, root):
        super().__init__(root)
        self.disk = SmallDisk(self.root / 'mnesia', self.SIZE)

    def command(self):
        return [*self.disk.enter, *super().command()]

    def wait_up(self):
        super().wait_up()
        self.call('rabbit_disk_monitor:set_disk_free_limit(0)')
        return self

    def close(self):
        super().close()
        self.disk.close()
