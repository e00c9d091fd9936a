# SPDX-License-Identifier: Apache-2.0
"""A Debian of its own, with systemd as its first process: a container that keeps nothing.

What is below is a directory that debootstrap has made once; what a test writes goes to memory and is gone with the
machine. It has no network but its own loopback. So the unit of the package is started by the real systemd, with every
line of its hardening, and nothing is ever installed on the machine that runs the tests.
"""
import os
import re
import shutil
import socket
import subprocess

BOOT_SECONDS = 60


class MachineError(Exception):
    """The container cannot be made here; the text says why."""


def finish(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise MachineError(f'{command[0]}: {done.stdout[-1000:]}')


def make_root(root, packages):
    """A minimal Debian with these packages, once."""
    if root.exists():
        return
    unfinished = root.with_name(root.name + '.unfinished')
    shutil.rmtree(unfinished, ignore_errors=True)
    finish(['debootstrap', '--variant=minbase', 'bookworm', str(unfinished)])
    install = ('apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends '
               + ' '.join(packages))
    finish(['chroot', str(unfinished), 'sh', '-c', install])
    unfinished.rename(root)


class Machine:
    def __init__(self, root, scratch, bind):
        """`bind` {path inside: file outside}"""
        self.scratch = scratch
        self.name = f'glint-{os.getpid()}'
        self.command = ['systemd-nspawn', '--quiet', '--register=no', '--keep-unit', '--private-network',
                        '--volatile=overlay', '--notify-ready=yes', '--boot', '--console=pipe', '-D', str(root),
                        f'--machine={self.name}',
                        *(f'--bind-ro={outside}:{inside}' for inside, outside in bind.items())]
        self.process = self.leader = None

    def __enter__(self):
        path = self.scratch / 'notify'
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, open(self.scratch / 'console', 'wb') as console:
            notify.bind(str(path))
            notify.settimeout(BOOT_SECONDS)
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                            env={**os.environ, 'NOTIFY_SOCKET': str(path)})
            try:
                self.wait_ready(notify)
            except BaseException:
                self.__exit__()
                raise
        return self

    def wait_ready(self, notify):
        said = ''
        while not re.search(r'^READY=1$', said, re.M):
            try:
                said += notify.recv(4096).decode() + '\n'
            except socket.timeout:
                console = (self.scratch / 'console').read_text(errors='replace')
                raise MachineError(f'the container does not start: {console[-500:]}') from None
        self.leader = re.search(r'^X_NSPAWN_LEADER_PID=(\d+)$', said, re.M)[1]

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(BOOT_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def run(self, command, check=True):
        """A line of shell inside, as root. Returns what it says."""
        done = subprocess.run(['nsenter', '-t', self.leader, '-m', '-u', '-i', '-n', '-p', '-r', '-w', 'sh', '-c', command],
                              capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                              env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C', 'TERM': 'dumb'})
        if check:
            assert done.returncode == 0, f'{command}: {done.stdout}{done.stderr}'
        return done.stdout + done.stderr

    def ok(self, command):
        return subprocess.run(['nsenter', '-t', self.leader, '-m', '-u', '-i', '-n', '-p', '-r', '-w', 'sh', '-c', command],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=120).returncode == 0
