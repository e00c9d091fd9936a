# SPDX-License-Identifier: Apache-2.0
"""The servers that are measured: glint, Debian's Glance, nginx. Each in a directory of its own, on a free
loopback port, everybody admin, notifications to the log where there are notifications."""
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'scripts'))
from service import write_config  # noqa: E402


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Server:
    name = ready = None  # `ready`: a path that answers 2xx once the server works

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.address = ('127.0.0.1', free_port())
        self.url = f'http://{self.address[0]}:{self.address[1]}'
        self.process = None

    def command(self):
        raise NotImplementedError

    def start(self):
        """Returns the seconds until the first good answer."""
        with open(self.directory / 'output', 'ab') as output:
            began = time.monotonic()
            self.process = subprocess.Popen(self.command(), cwd=self.directory, stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output, process_group=0)
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() - began > 60:
                self.stop()
                raise RuntimeError(f'{self.name} did not start: {self.last_words()}')
            time.sleep(0.001)
        return time.monotonic() - began

    def answers(self):
        try:
            with socket.create_connection(self.address, timeout=10) as s:
                s.sendall(f'GET {self.ready} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'.encode())
                return s.recv(64).split(b' ', 2)[1:2] == [b'200']
        except OSError:
            return False

    def restart(self):
        self.stop()
        return self.start()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def last_words(self):
        return '\n'.join((self.directory / 'output').read_text(errors='replace').splitlines()[-5:])

    def memory(self):
        """Octets: what is resident (VmRSS); of several processes the sum of their fair shares (Pss)."""
        pids = [self.process.pid, *children(self.process.pid)]
        if len(pids) == 1:
            return proc_kib(f'/proc/{pids[0]}/status', 'VmRSS:') * 1024
        return sum(proc_kib(f'/proc/{pid}/smaps_rollup', 'Pss:') for pid in pids) * 1024


def children(pid):
    try:
        return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    except OSError:
        return []


def proc_kib(path, key):
    try:
        return next(int(line.split()[1]) for line in Path(path).read_text().splitlines() if line.startswith(key))
    except (OSError, StopIteration):
        return 0


class Glint(Server):
    name, ready = 'glint', '/healthcheck'

    def __init__(self, directory, program):
        super().__init__(directory)
        self.program = os.path.abspath(program)
        self.database = self.directory / 'glint.sqlite'
        self.config = self.directory / 'glint.conf'
        self.configure()

    def configure(self, **store):
        """With these options of the store beside its directory, from the next start on."""
        write_config(self.config, {
            'DEFAULT': {'log_file': self.directory / 'glint.log'},
            'database': {'connection': f'sqlite:///{self.database}'},
            'glance_store': {'filesystem_store_datadir': self.directory / 'images', **store},
            'oslo_messaging_notifications': {'driver': 'log'},
            'paste_deploy': {'flavor': ''}})

    def command(self):
        return [self.program, 'serve', '--config-file', str(self.config), '--data-dir', str(self.directory),
                '--listen', '%s:%d' % self.address]


class Glance(Server):
    """Debian's glance-api: SQLite, the file store, two workers, its own default pipeline without auth."""
    name, ready = 'glance', '/healthcheck'

    def __init__(self, directory):
        super().__init__(directory)
        self.database = self.directory / 'glance.sqlite'
        self.config = self.directory / 'glance-api.conf'
        self.empty = self.directory / 'empty.d'  # keeps the configuration of an installed service out
        for sub in ('images', 'staging', 'locks', 'empty.d'):
            (self.directory / sub).mkdir()
        write_config(self.config, {
            'DEFAULT': {'log_file': self.directory / 'glance.log', 'bind_host': self.address[0],
                        'bind_port': self.address[1], 'workers': 2,
                        'node_staging_uri': f'file://{self.directory}/staging'},
            'database': {'connection': f'sqlite:///{self.database}'},
            'glance_store': {'stores': 'file', 'default_store': 'file',
                             'filesystem_store_datadir': self.directory / 'images'},
            'oslo_concurrency': {'lock_path': self.directory / 'locks'},
            'oslo_messaging_notifications': {'driver': 'log'},
            'paste_deploy': {'flavor': '', 'config_file': '/etc/glance/glance-api-paste.ini'}})

    def options(self):
        return ['--config-file', str(self.config), '--config-dir', str(self.empty)]

    def command(self):
        return ['/usr/bin/glance-api', *self.options()]

    def make_database(self):
        done = subprocess.run(['/usr/bin/glance-manage', *self.options(), 'db_sync'], capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise RuntimeError('glance-manage db_sync: ' + done.stderr[-500:])
        return self.database


NGINX = """\
{user}worker_processes 2;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {dir}/tmp; proxy_temp_path {dir}/tmp; fastcgi_temp_path {dir}/tmp;
  uwsgi_temp_path {dir}/tmp; scgi_temp_path {dir}/tmp;
  server {{ listen {host}:{port}; root {dir}; location = /ready {{ return 200; }} }}
}}
"""


class Nginx(Server):
    name, ready = 'nginx', '/ready'

    def command(self):
        config = self.directory / 'nginx.conf'
        config.write_text(NGINX.format(dir=self.directory, host=self.address[0], port=self.address[1],
                                       user='user root;\n' if os.geteuid() == 0 else ''))
        return ['/usr/sbin/nginx', '-p', str(self.directory), '-c', str(config), '-e',
                str(self.directory / 'error.log')]
