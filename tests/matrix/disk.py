"""What stands in the output folder before the crawl begins."""

from tests.matrix.cases import Family

family = Family("disk", "Disk")
