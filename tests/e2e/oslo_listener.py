#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A consumer as the cloud's are: oslo.messaging's own notification listener, in a process of its own.

    oslo_listener.py OUT URL [--topic T]... [--pool NAME] [--set GROUP.NAME=VALUE]...

Writes "ready" to standard output once it listens, then one JSON line a notification to OUT, until
SIGTERM. What the library complains about goes to standard error, each complaint as 'complaint: ...'.
"""
import argparse
import json
import logging
import signal
import sys
import threading

from oslo_config import cfg
import oslo_messaging

PRIORITIES = ['audit', 'debug', 'info', 'warn', 'error', 'critical', 'sample']


class Complaints(logging.Handler):
    """Warnings about what arrived, or about the broker; not those about Python or the test's set-up."""

    def emit(self, record):
        if record.name.startswith(('oslo.messaging', 'oslo_messaging')):
            print('complaint:', record.name, record.getMessage(), file=sys.stderr, flush=True)


class Endpoint:
    def __init__(self, path):
        self.out = open(path, 'a', encoding='utf-8')
        self.lock = threading.Lock()
        for priority in PRIORITIES:
            setattr(self, priority, self.taker(priority))

    def taker(self, priority):
        def take(ctxt, publisher_id, event_type, payload, metadata):
            line = json.dumps({'priority': priority, 'publisher_id': publisher_id, 'event_type': event_type,
                               'payload': payload, 'metadata': metadata,
                               'ctxt': ctxt if isinstance(ctxt, dict) else ctxt.to_dict()})
            with self.lock:
                self.out.write(line + '\n')
                self.out.flush()
        return take


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('out')
    parser.add_argument('url')
    parser.add_argument('--topic', action='append')
    parser.add_argument('--pool')
    parser.add_argument('--set', action='append', default=[])
    args = parser.parse_args()

    logging.getLogger().addHandler(Complaints(logging.WARNING))
    conf = cfg.ConfigOpts()
    conf([], project='listener', default_config_files=[], default_config_dirs=[])
    oslo_messaging.get_notification_transport(conf, url=args.url)  # registers the options that follow
    for setting in args.set:
        key, value = setting.split('=', 1)
        group, name = key.split('.')
        conf.set_override(name, {'true': True, 'false': False}.get(value, value), group)
    transport = oslo_messaging.get_notification_transport(conf, url=args.url)
    targets = [oslo_messaging.Target(topic=t, exchange='glance') for t in args.topic or ['notifications']]
    server = oslo_messaging.get_notification_listener(transport, targets, [Endpoint(args.out)],
                                                      executor='threading', pool=args.pool)
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    server.start(override_pool_size=1)  # one thread, or else the order would be lost in here
    print('ready', flush=True)
    stop.wait()
    server.stop()
    server.wait()
    transport.cleanup()


if __name__ == '__main__':
    main()
