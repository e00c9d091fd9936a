#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""oslo.messaging's own notifier, as Glance uses it: publish one payload (standard input) so many times.

    oslo_notifier.py TRANSPORT_URL COUNT < PAYLOAD

Prints the seconds for all but the first, which connects and declares.
"""
import json
import sys
import time

from oslo_config import cfg
import oslo_messaging


def main():
    url, count, payload = sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)
    conf = cfg.ConfigOpts()
    conf([], project='glance', default_config_files=[], default_config_dirs=[])
    oslo_messaging.set_transport_defaults('glance')
    transport = oslo_messaging.get_notification_transport(conf, url=url)
    notifier = oslo_messaging.Notifier(transport, publisher_id='image.localhost', driver='messagingv2',
                                       topics=['notifications'])
    notifier.info({}, 'image.update', payload)
    began = time.monotonic()
    for _ in range(count):
        notifier.info({}, 'image.update', payload)
    print(f'{time.monotonic() - began:.6f}')


if __name__ == '__main__':
    main()
