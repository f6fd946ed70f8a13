"""Downloads long lists of large files, whole and verified: a Scrapy project."""
