"""Downloads from a program of one's own: ``from fetcher import Downloader``."""
