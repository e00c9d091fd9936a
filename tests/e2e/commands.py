# SPDX-License-Identifier: Apache-2.0
"""The openstack and glance commands without their one or two seconds of imports: they are forked from a process that
has imported everything. What runs is the same `main()` with the same arguments; nothing of one command is left for
the next. The process is started when the first command is wanted, and ends when we do.
"""
import atexit
import importlib
import importlib.metadata
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback

# -- the process that forks ----------------------------------------------------------------------------

def import_all():
    """Also what the openstack command finds by the entry points of what is installed, and what it remembers of them.
    Another release may have other names for that: then commands are slower, not wrong."""
    import glanceclient.v2.shell  # noqa: F401
    import openstackclient.shell  # noqa: F401
    groups = ('openstack.', 'cliff.formatter', 'keystoneauth1.plugin')
    for distribution in importlib.metadata.distributions():
        for point in (p for p in distribution.entry_points if p.group.startswith(groups)):
            try:
                point.load()
            except Exception:  # whatever a plugin of somebody's raises
                pass
    remember = getattr(importlib.import_module('cliff.command'), '_get_distributions_by_modules', None)
    if remember:
        remember()


def main_of(program):
    if program == 'openstack':
        from openstackclient.shell import main
        return main
    # Debian 12's glance command ends at once with the Python of the same release: an option is declared twice, which
    # argparse has come to refuse. Everything else in it is as it is.
    import argparse
    argparse._ActionsContainer._check_conflict = lambda self, action: None
    from glanceclient.shell import main
    return main


def become(order):
    """What the command is; its exit status."""
    for fd, path in ((1, order['out']), (2, order['err'])):
        f = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(f, fd)
        os.close(f)
    os.close(0)
    if order['stdin']:
        os.open(order['stdin'], os.O_RDONLY)
    sys.stdin = open(0, closefd=False) if order['stdin'] else None
    os.environ.update(order['env'])
    sys.argv = [f'/usr/bin/{order["program"]}', *order['words']]
    try:
        status = main_of(order['program'])()
    except SystemExit as e:
        status = e.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else int(status is not None)


def fork_on_order():
    import_all()
    orders, answers = sys.stdin.buffer, os.fdopen(os.dup(1), 'w')
    while line := orders.readline():
        pid = os.fork()
        if pid == 0:
            answers.close()
            os._exit(become(json.loads(line)) & 0xff)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answers, flush=True)


# -- those who want a command ----------------------------------------------------------------------------

class Forker:
    process = None

    def start(self):
        self.process = subprocess.Popen(['/usr/bin/python3', __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, start_new_session=True)
        atexit.register(self.end)

    def end(self):
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def run(self, program, words, stdin='/dev/null', env=None, timeout=120):
        """Like subprocess.run() with its output captured as text. `stdin`: the path of a file, None for none at all."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
            order = {'program': program, 'words': [str(w) for w in words], 'stdin': stdin, 'env': env or {},
                     'out': out.name, 'err': err.name}
            print(json.dumps(order), file=self.process.stdin, flush=True)
            if not select.select([self.process.stdout], [], [], timeout)[0]:
                self.end()
                raise subprocess.TimeoutExpired([program, *order['words']], timeout)
            status = int(self.process.stdout.readline() or -1)  # nothing: it has ended, and its traceback was shown
            return subprocess.CompletedProcess([program, *order['words']], status, out.read().decode(), err.read().decode())


run = Forker().run

if __name__ == '__main__':
    fork_on_order()
