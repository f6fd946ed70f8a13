"""Files that a program wants, each with a folder and settings of its own: the child's side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fetcher.contract import FileMeta
from fetcher.disk.folding import folds_names
from fetcher.errors import FetchError
from fetcher.items import FileItem
from fetcher.library.places import place
from fetcher.lists import BadRow, Naming, Row, make_row
from fetcher.spiders.assignment import Assignment, make_folder
from fetcher.spiders.credentials import Credentials
from fetcher.spiders.fetch import FetchSpider
from fetcher.spiders.standing import Standing
from fetcher.workers.channel import Channel, Order


@dataclass(frozen=True)
class Orders(Assignment):
    """An assignment whose rows have folders of their own; a row's line is its order's number.

    :param orders: number 1 is the first.
    """

    orders: Sequence[Order] = ()


class OrderSpider(FetchSpider):
    """Fetches the files of :class:`Orders`."""

    name = "orders"

    def __init__(self, assignment: Orders, **kwargs: Any) -> None:
        super().__init__(assignment, **kwargs)
        self._orders = assignment.orders
        self._folds: dict[str, bool] = {}
        self._namings: dict[bool, Naming] = {}

    async def close_list(self, reason: str) -> None:
        """See :class:`FetchSpider`."""
        await super().close_list(reason)
        for naming in self._namings.values():
            naming.close()

    def _look_for_standing(self) -> Standing | None:
        """Nothing: each order has its own folder, and may say what to do with what is there."""
        return None

    def _name(self, row: Row) -> str | None:
        out = self._orders[row.line - 1]["out"]
        if out not in self._folds:
            self._folds[out] = folds_names(Path(out))
        fold = self._folds[out]
        if fold not in self._namings:
            self._namings[fold] = Naming(fold=fold)
        folder, plain = place(out, row)
        name = self._namings[fold].assign(plain, folder)
        within, slash, _ = (row.name or "").rpartition("/")
        return None if name is None else within + slash + name

    def _meta(self, row: Row, name: str) -> FileMeta:
        order = self._orders[row.line - 1]
        meta = super()._meta(row, name)
        meta["out"] = order["out"]
        meta["tries"], meta["if_exists"] = order.get("tries"), order.get("if_exists")
        return meta


def take(orders: Sequence[Order], channel: Channel) -> Orders:
    """Make the folders, and the rows to fetch into them.

    What is ordered into a folder that cannot be made has failed, and the parent is told so.
    """
    folders: dict[str, FetchError | None] = {}
    rows: list[Row | BadRow] = []
    for number, order in enumerate(orders, 1):
        out = order["out"]
        if out not in folders:
            folders[out] = _make(out)
        error = folders[out]
        if error is None:
            rows.append(_row(number, order))
        else:
            message = {"type": type(error).__name__, "message": error.message}
            item = FileItem(status="failed", name=order["fields"].get("name", ""), error=message)
            channel.send({"kind": "item", "item": item.report(), "line": number})
    return Orders(tuple(rows), None, Path.cwd(), Credentials(), folds_names=False, orders=orders)


def _make(out: str) -> FetchError | None:
    try:
        make_folder(Path(out))
    except FetchError as error:
        return error
    return None


def _row(number: int, order: Order) -> Row | BadRow:
    row = make_row(number, order["fields"])
    if isinstance(row, BadRow):
        return row
    headers = tuple((name, value) for name, value in order["headers"])
    return replace(row, headers=headers, splits=order.get("splits"))
