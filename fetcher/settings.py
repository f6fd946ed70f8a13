"""Every setting, with its default.

Sizes are bytes and rates bytes a second; ``K``, ``M`` and ``G`` stand for powers of 1024.
Override any of them with ``-s NAME=VALUE``, in a settings file, or in a Scrapyd job.
"""

from typing import Any

# --- What this project adds -----------------------------------------------------------------

FETCHER_OUTPUT_DIR = "output"
"""Where the output folders are made (see the spider argument `out`)."""

FETCHER_MAX_PARALLEL = 5
"""Files at a time."""

FETCHER_MAX_SPLITS = 5
"""Connections per file, where the server allows ranges."""

FETCHER_MIN_SPLIT_SIZE = "8M"
"""No range smaller than this is split off; a file up to this size takes exactly one request."""

FETCHER_IF_EXISTS = "skip"
"""For a file that an earlier run completed: `skip` (no request at all), `update` (conditional
request, fetched again only if changed), `overwrite`, `rename`."""

FETCHER_MAX_TRIES = 5
"""Tries of a range without progress; progress resets the count. Less than `FETCHER_STALL_SPEED`
over a whole try, its pause and connecting included, is none."""

FETCHER_RETRY_BACKOFF = 1.0
"""Seconds before the first retry, doubling with jitter up to 60."""

FETCHER_MAX_RETRY_AFTER = 300
"""Seconds: the longest wait that a server's `Retry-After` is granted."""

FETCHER_STALL_TIMEOUT = 60
"""Seconds without a byte before a connection is given up. No limit on a transfer's total time."""

FETCHER_STALL_SPEED = "1K"
"""Bytes a second: a connection slower than this on average over `FETCHER_STALL_TIMEOUT` counts as
stalled too."""

FETCHER_CONNECT_TIMEOUT = 20
"""Seconds, for the connection and for the answer's headers."""

FETCHER_RATE_LIMIT = 0
"""Bytes a second over all transfers of the crawl together, such as `10M`; 0 for no limit."""

FETCHER_CHECKSUM = "auto"
"""What the bytes are compared with: `auto` (the list's checksum, else what the server states:
`Repr-Digest`, `Digest`, `Content-MD5`, `x-goog-hash`, `x-amz-checksum-*`), `require` (a file
without any fails), `off`."""

FETCHER_RECORD_CHECKSUM = "sha256"
"""Computed for the report even when there is nothing to compare with; empty for none."""

FETCHER_UNPACK = False
"""Unpack archives (`.tar`, also compressed by gzip, bzip2, xz or zstd, and `.zip`) into a folder of
the file's name without its ending, beside it; the archive stays. The folder appears only when all
of it is there, and never in the place of what somebody else has made. Refused, as a whole: archives
with names or links that leave the folder, devices, pipes, a name twice, passwords, or more than the
disk or `DOWNLOAD_MAXSIZE` has room for."""

FETCHER_COOKIES = None
"""A file of cookies in Netscape's format, as browsers' extensions, curl and wget write it; each
goes to the hosts and paths that it is for."""

FETCHER_SSH_KNOWN_HOSTS = "~/.ssh/known_hosts"
"""The file of SSH host keys that are trusted; unknown and changed ones are refused."""

FETCHER_SSH_HOST_KEY_POLICY = "reject"
"""`reject` unknown host keys, or `accept-new`: add them to that file. A changed key is refused
either way."""

FETCHER_SSH_KEY = None
"""A private key file for SFTP; otherwise `~/.ssh/config`, the agent, the keys in `~/.ssh`, and the
address's password."""

FETCHER_FTP_TLS = "auto"
"""`auto`: TLS for `ftps://`, implicit on port 990 (its default) and explicit (`AUTH TLS`) on
others; `require`: also explicit TLS for every `ftp://`."""

FETCHER_PROGRESS = "auto"
"""`bar` on a terminal and `log` otherwise; or `bar`, `log`, `none`."""

FETCHER_METRICS_PORT = None
"""Where the crawl's numbers are served for Prometheus, at `http://127.0.0.1:PORT/metrics`: a port,
or the first free one of several, such as `9410-9429`."""

FETCHER_QUEUE = None
"""`redis://host:port/db`: the list's rows go through one shared queue there, for any number of
processes on any number of machines that are started with the same list and setting."""

FETCHER_QUEUE_NAME = None
"""Which queue; otherwise it has the list's name."""

FETCHER_QUEUE_LEASE = 60
"""Seconds without a sign of life after which another worker takes over a row."""

# --- Scrapy's own settings, where their defaults do not fit large files ------------------------

BOT_NAME = "fetcher"
SPIDER_MODULES = ["fetcher.spiders"]
COMMANDS_MODULE = "fetcher.commands"
USER_AGENT = "fetcher (+https://scrapy.org)"
DEFAULT_REQUEST_HEADERS = {"Accept": "*/*"}

# The bytes of a file never pass through a Response, so Scrapy's limits on bodies do not apply;
# a value other than 0 here limits the size of a file.
DOWNLOAD_MAXSIZE = 0
DOWNLOAD_WARNSIZE = 0

DOWNLOAD_VERIFY_CERTIFICATES = True
CONCURRENT_REQUESTS_PER_DOMAIN = 16
# Files and their ranges are counted together: FETCHER_MAX_PARALLEL * (FETCHER_MAX_SPLITS + 1) + 1
# is the least that starves no file. The spider raises this when those two are raised.
CONCURRENT_REQUESTS = 31
# One item a response: more workers only cost start-up for each file.
CONCURRENT_ITEMS = 1

# Scrapy's own does not keep to CONCURRENT_REQUESTS_PER_DOMAIN where several requests wait.
DOWNLOADER = "fetcher.handlers.downloader.SlotDownloader"
DOWNLOAD_HANDLERS: dict[str, Any] = {
    "http": "fetcher.handlers.http.RangeHTTPDownloadHandler",
    "https": "fetcher.handlers.http.RangeHTTPSDownloadHandler",
    "ftp": "fetcher.handlers.ftp.FTPDownloadHandler",
    "ftps": "fetcher.handlers.ftp.FTPSDownloadHandler",
    "sftp": "fetcher.handlers.sftp.SFTPDownloadHandler",
    # A list comes from elsewhere and must not read this machine's files.
    "file": None,
    "data": None,
    "s3": None,
}

# Scrapy imports what EXTENSIONS and the like set to None all the same, to compare it, which costs a
# quarter of the start. So its own lists are written out here without what is of no use to files:
# tests/test_settings.py names what is left out, and notices when Scrapy's lists change.
DOWNLOADER_MIDDLEWARES_BASE = {
    "scrapy.downloadermiddlewares.defaultheaders.DefaultHeadersMiddleware": 400,
    "scrapy.downloadermiddlewares.useragent.UserAgentMiddleware": 500,
    "scrapy.downloadermiddlewares.httpproxy.HttpProxyMiddleware": 750,
}
DOWNLOADER_MIDDLEWARES: dict[str, int | None] = {
    "fetcher.middlewares.ranges.RangeMiddleware": 10,
    "fetcher.middlewares.retry.ResumeRetryMiddleware": 550,
    "fetcher.middlewares.redirect.OriginRedirectMiddleware": 600,
}

SPIDER_MIDDLEWARES_BASE: dict[str, int] = {}

ITEM_PIPELINES = {
    "fetcher.pipelines.commit.CommitPipeline": 100,
    "fetcher.pipelines.unpack.UnpackPipeline": 110,
    "fetcher.pipelines.count.CountPipeline": 120,
}

EXTENSIONS_BASE = {
    "scrapy.extensions.corestats.CoreStats": 0,
    "scrapy.extensions.logcount.LogCount": 0,
    "scrapy.extensions.memusage.MemoryUsage": 0,
    "scrapy.extensions.memdebug.MemoryDebugger": 0,
    "scrapy.extensions.closespider.CloseSpider": 0,
    "scrapy.extensions.feedexport.FeedExporter": 0,
    "scrapy.extensions.spiderstate.SpiderState": 0,
    "scrapy.extensions.throttle.AutoThrottle": 0,
}
EXTENSIONS: dict[str, int | None] = {
    "fetcher.extensions.shutdown.Shutdown": 0,
    "fetcher.extensions.progress.Progress": 0,
    "fetcher.extensions.redact.Redact": 0,
    "fetcher.extensions.sums.Sums": 0,
    "fetcher.extensions.retry_list.RetryList": 0,
    "fetcher.extensions.metrics.Metrics": 0,
}

# Rows wait in memory, a few at a time, also with a job folder: a queue on disk forgets those in
# flight when a run is killed. What it has not finished, the next run takes from the list again.
SCHEDULER_DISK_QUEUE = SCHEDULER_START_DISK_QUEUE = "scrapy.squeues.FifoMemoryQueue"

# The same row is found again by its name, exactly; a set of a million fingerprints is not needed.
DUPEFILTER_CLASS = "scrapy.dupefilters.BaseDupeFilter"

# Scrapy's own looks up each field of each item by its name.
FEED_EXPORTERS = {"jsonlines": "fetcher.extensions.exporter.ReportExporter"}

# So that other feeds, such as Scrapyd's items, have the report's very lines.
FEED_EXPORT_ENCODING = "utf-8"

# The report's own storage; other FEEDS stay Scrapy's, and stand beside the report.
FEED_STORAGES = {"report": "fetcher.extensions.report.ReportStorage"}
FEEDS: dict[str, dict[str, Any]] = {
    "%(report)s": {
        "format": "jsonlines",
        "encoding": "utf8",
        "overwrite": True,
        "item_classes": ["fetcher.items.FileItem"],
    }
}

LOG_FORMATTER = "fetcher.extensions.redact.QuietLogFormatter"
LOG_LEVEL = "INFO"
LOG_VERSIONS: list[str] = []
STATS_DUMP = False
# The check reads the source of each callback; ours return nothing.
WARN_ON_GENERATOR_RETURN_VALUE = False

TWISTED_DNS_RESOLVER = "fetcher.handlers.http.resolver.DaemonThreadedResolver"
REMOTE_CONTROL_ENABLED = False
TELNETCONSOLE_ENABLED = False
