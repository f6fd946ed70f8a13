"""What the options of commands may be; what is wrong with one is told in one line."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from scrapy.exceptions import UsageError

from fetcher.commands.run import USAGE
from fetcher.config import parse_size
from fetcher.rules.checksums import parse_checksum
from fetcher.rules.headers import parse_header


def usage(message: str) -> UsageError:
    """What to raise for a wrong call."""
    return UsageError(message, print_help=False)


def wrong_usage(command: str, message: str) -> NoReturn:
    """Stands in for :meth:`argparse.ArgumentParser.error`: one line, not ten.

    :param command: the name of the command.
    """
    # argparse quotes what was typed, and that may break the line.
    line = " ".join(message.split())
    sys.stderr.write(f"fetcher: {line}; see scrapy {command} --help\n")
    sys.exit(USAGE)


def addresses(args: list[str]) -> list[str]:
    """What of the rest of the command line is meant as addresses or paths.

    :raises UsageError: something is meant as an option.
    """
    end = args.index("--") if "--" in args else len(args)
    for arg in args[:end]:
        if arg.startswith("-"):
            raise usage(f"unknown option {arg.partition('=')[0]}")
    return args[:end] + args[end + 1 :]


def count(text: str) -> int:
    """A whole number from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return number


def seconds(text: str) -> float:
    """A number of seconds above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return number


def rate(text: str) -> str:
    """Bytes a second, as the setting takes them."""
    try:
        parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def checksum(text: str) -> str:
    """``algorithm:hex``."""
    try:
        return parse_checksum(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def header(text: str) -> tuple[str, str]:
    """Name and value of a header for requests."""
    try:
        return parse_header(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
