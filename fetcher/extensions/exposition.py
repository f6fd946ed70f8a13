"""Numbers over HTTP, as Prometheus collects them."""

from __future__ import annotations

from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from twisted.internet.protocol import ServerFactory
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site


def site(collector: Collector) -> ServerFactory[Any]:
    """A web site that has what the collector gives, under ``/metrics``."""
    # Not the library's own, which is for the whole process.
    registry = CollectorRegistry()
    registry.register(collector)
    root = Resource()
    root.putChild(b"metrics", cast("IResource", _Page(registry)))
    made: ServerFactory[Any] = _QuietSite(root)  # type: ignore[no-untyped-call]
    return made


class _Page(Resource):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._registry = registry

    def render_GET(self, request: Request) -> bytes:
        encoder, content_type = choose_encoder(request.getHeader("Accept") or "")
        request.setHeader("Content-Type", content_type)
        return encoder(self._registry)


class _QuietSite(Site):
    """Says nothing of who asks for what."""

    def log(self, request: Any) -> None:
        """See :class:`twisted.web.server.Site`."""
