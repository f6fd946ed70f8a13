"""The same over FTP and SFTP."""

from tests.matrix.cases import Family

family = Family("remote", "FTP and SFTP")
