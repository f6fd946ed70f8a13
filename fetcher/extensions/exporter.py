"""How a file's item becomes a line of the report."""

from __future__ import annotations

from typing import Any

from scrapy.exporters import JsonLinesItemExporter

from fetcher.items import FileItem


class ReportExporter(JsonLinesItemExporter):
    """Scrapy's exporter of JSON lines, which looks up each field of each item by its name.

    Of a file's item the fields are known, and there may be a million of them in a minute. Where
    other items are exported, or only some fields, it does what Scrapy's does.
    """

    def export_item(self, item: Any) -> None:
        """See :class:`scrapy.exporters.BaseItemExporter`."""
        if type(item) is FileItem and self.fields_to_export is None:
            line = self.encoder.encode(item.report()) + "\n"
            self.file.write(line.encode(self.encoding or "utf-8"))
        else:
            super().export_item(item)
