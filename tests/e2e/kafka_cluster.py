#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka for tests: librdkafka's mock cluster in a process of its own. Debian has no broker.

As a program it is the cluster: it prints "host:port,host:port" and lives until its standard input ends.
"""
import os
import signal
import subprocess
import sys

import confluent_kafka

PRIORITIES = ['audit', 'debug', 'info', 'warn', 'error', 'critical', 'sample']


def main():
    host = confluent_kafka.Producer({'test.mock.num.brokers': 2, 'log_level': 0})
    brokers = host.list_topics(timeout=60).brokers.values()
    for priority in PRIORITIES:  # whoever asks for a topic makes it
        host.list_topics(f'notifications.{priority}', timeout=60)
    print(','.join(f'{b.host}:{b.port}' for b in brokers), flush=True)
    sys.stdin.read()


class Cluster:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.hosts = self.process.stdout.readline().strip()
        assert self.hosts, 'the cluster does not start'

    def url(self, credentials='', path='/'):
        return 'kafka://' + ','.join(credentials + host for host in self.hosts.split(',')) + path

    def freeze(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def close(self):
        self.thaw()
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def messages(self, *topics):
        """Everything that is in the topics now, a list of confluent_kafka.Message for each partition."""
        consumer = confluent_kafka.Consumer({'bootstrap.servers': self.hosts, 'group.id': 'reader', 'log_level': 0,
                                             'enable.partition.eof': True})
        places = [confluent_kafka.TopicPartition(topic, partition, confluent_kafka.OFFSET_BEGINNING)
                  for topic in topics
                  for partition in consumer.list_topics(topic, timeout=60).topics[topic].partitions]
        found = {(p.topic, p.partition): [] for p in places}
        left = set(found)
        consumer.assign(places)
        while left:
            message = consumer.poll(10)
            assert message is not None, 'the cluster does not answer'
            place = message.topic(), message.partition()
            if message.error():
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                left.discard(place)
            else:
                found[place].append(message)
        consumer.close()
        return list(found.values())


if __name__ == '__main__':
    main()
