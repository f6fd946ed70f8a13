"""A Scrapyd, asked over its API: https://scrapyd.readthedocs.io/en/latest/api.html"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from fetcher.errors import InvalidListError, InvalidURLError, NodeError
from fetcher.rules.urls import check_url, redact
from fetcher.spiders.credentials import Credentials

SPIDER = "fetch"

STATES = ("finished", "running", "pending")
"""Of a job, as Scrapyd names them."""

LOG_END = 64 << 10
"""Bytes of a log that are asked for."""

_MAX_ANSWER = 64 << 20
"""Bytes of an answer about jobs: some hundred thousand of them."""

_BLOCK = 64 << 10


class _NoRedirects(HTTPRedirectHandler):
    """A login is for the node that it was given for; and Scrapyd sends nobody elsewhere."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


class Node:
    """A Scrapyd.

    :param address: ``http(s)://``, with a login in it where it wants one that is not in ``.netrc``.
    :param timeout: seconds that it may take for an answer, or for the next bytes of a file.
    :raises InvalidListError: the address cannot be used.
    """

    def __init__(self, address: str, timeout: float, credentials: Credentials) -> None:
        try:
            url, self._authorization = credentials.split(check_url(address))
        except InvalidURLError as error:
            raise InvalidListError(f"the node {error.message}") from error
        parts = urlsplit(url)
        if parts.scheme.lower() not in ("http", "https"):
            raise InvalidListError(f"the node {redact(url)!r} is no http:// or https:// address")
        self._base = urlunsplit(parts._replace(path=parts.path.rstrip("/"), query=""))
        self._timeout = timeout
        self._opener = build_opener(_NoRedirects)

    def __str__(self) -> str:
        """The address, without the login."""
        return self._base

    def schedule(
        self, project: str, job: str, arguments: dict[str, str], settings: Iterable[str]
    ) -> None:
        """Give it a job.

        :param job: its id, which is also the name of its log and of its items.
        :param arguments: of the spider.
        :param settings: ``NAME=VALUE`` each.
        :raises NodeError: it did not take it.
        """
        fields = [("project", project), ("spider", SPIDER), ("jobid", job), *arguments.items()]
        fields += [("setting", setting) for setting in settings]
        self._ask("schedule.json", fields)

    def jobs(self, project: str) -> dict[str, str]:
        """The states of the spider's jobs by their ids, as far as it remembers them.

        :raises NodeError: it does not answer, or does not have the project.
        """
        answer = self._ask(f"listjobs.json?{urlencode({'project': project})}")
        try:
            return {
                str(job["id"]): state
                for state in STATES
                for job in answer[state]
                if job["spider"] == SPIDER
            }
        except (KeyError, TypeError) as error:
            raise self._is_none() from error

    @contextmanager
    def items(self, project: str, job: str) -> Iterator[Iterator[bytes] | None]:
        """The lines of a job's items; None where it keeps none.

        :raises NodeError: also while the lines are read.
        """
        try:
            response = self._open(self._file("items", project, job, "jl"))
        except HTTPError as error:
            if error.code != 404:
                raise self._refusal(error) from error
            yield None
            return
        with response:
            yield self._lines(response)

    def log_end(self, project: str, job: str) -> str:
        """The last lines of a job's log; empty where it has none.

        :raises NodeError: it does not answer.
        """
        path = self.log_path(project, job)
        try:
            response = self._open(path)
            size = int(response.headers["Content-Length"] or 0)
            if size > LOG_END:
                response.close()
                # Not the last so many bytes: where there are fewer, Twisted answers with 500.
                response = self._open(path, {"Range": f"bytes={size - LOG_END}-"})
        except HTTPError as error:
            if error.code != 404:
                raise self._refusal(error) from error
            return ""
        end = b""
        with response:
            for block in self._blocks(response):
                end = (end + block)[-LOG_END:]
        return end.decode("utf-8", "replace")

    def log_path(self, project: str, job: str) -> str:
        """Where the log is, below the node's address."""
        return self._file("logs", project, job, "log")

    def _file(self, kind: str, project: str, job: str, ending: str) -> str:
        return "/".join(map(quote, (kind, project, SPIDER, f"{job}.{ending}")))

    def _ask(self, service: str, fields: list[tuple[str, str]] | None = None) -> dict[str, Any]:
        """:raises NodeError: it does not answer, or that there is an error."""
        deadline = time.monotonic() + self._timeout
        data = bytearray()
        try:
            with self._open(service, fields=fields) as response:
                for block in self._blocks(response):
                    data += block
                    if len(data) > _MAX_ANSWER or time.monotonic() > deadline:
                        raise self._is_none()
        except HTTPError as error:
            raise self._refusal(error) from error
        try:
            answer = json.loads(data)
            status = answer["status"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._is_none() from error
        if status == "ok":
            return dict(answer)
        # It may be the traceback of a project that does not load: its last line is what happened.
        lines = str(answer.get("message", "")).strip().splitlines()
        reason = lines[-1] if lines else "without a reason"
        advice = "; scrapyd-deploy puts it there" if reason.startswith("project ") else ""
        raise NodeError(f"the Scrapyd at {self} answers with an error: {reason}{advice}")

    def _open(
        self,
        path: str,
        headers: dict[str, str] | None = None,
        fields: list[tuple[str, str]] | None = None,
    ) -> Any:
        """:raises HTTPError: it answers with another status than 2xx.
        :raises NodeError: it does not answer.
        """
        data = None if fields is None else urlencode(fields).encode()
        url = f"{self._base}/{path}"
        request = Request(url, data, headers or {})  # noqa: S310 - http and https only
        if self._authorization is not None:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            return self._opener.open(request, timeout=self._timeout)
        except HTTPError as error:
            error.close()
            raise
        except (OSError, HTTPException, ValueError) as error:
            raise self._unreachable(error) from error

    def _blocks(self, response: Any) -> Iterator[bytes]:
        try:
            while block := response.read1(_BLOCK):
                yield block
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error

    def _lines(self, response: Any) -> Iterator[bytes]:
        """Whole ones, with their ends; the last may lack its own."""
        left = response.headers["Content-Length"]
        read = 0
        try:
            for line in response:
                read += len(line)
                yield line
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error
        if left is not None and read < int(left):
            raise NodeError(f"the Scrapyd at {self} broke off in the middle of the items")

    def _unreachable(self, error: Exception) -> NodeError:
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, TimeoutError):
            reason = f"nothing came within {self._timeout:g} s"
        elif isinstance(cause, OSError):
            reason = cause.strerror or str(cause)
        else:
            reason = str(cause) or type(cause).__name__
        return NodeError(f"the Scrapyd at {self} cannot be reached: {reason}")

    def _refusal(self, error: HTTPError) -> NodeError:
        if error.code == 401:
            return NodeError(f"the Scrapyd at {self} wants another login: give it in the address")
        return NodeError(f"the Scrapyd at {self} answers with status {error.code}")

    def _is_none(self) -> NodeError:
        return NodeError(f"what answers at {self} is no Scrapyd: check the address")
