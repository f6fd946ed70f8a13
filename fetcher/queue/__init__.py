"""One list, worked off by any number of processes on any number of machines: ``FETCHER_QUEUE``.

The rows lie in a Redis Stream with a consumer group, which is made for that: it knows which row was
given to whom, how long ago, and how often, and survives a restart of Redis with its append-only
file. A row leaves it only when its file is verified and in place, or has failed for good (at least
once). The other way would have been leases over scrapy-redis: it keeps whole pickled requests (a
program, for who may write to the queue), forgets on ``kill -9`` what it has handed out, remembers
the fingerprints of what it has lost, and waits for Redis on the thread of all transfers.
"""
