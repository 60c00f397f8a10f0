"""One-line errors for the database that stores searches."""

import contextlib
import errno
import json
import pathlib
from collections.abc import Iterator

import optuna
import sqlalchemy

from gpnas._files import PathLike
from gpnas.errors import UserError

KEPT = "the study's database"  # in messages, where its URL is not known

_DATABASE = (
    sqlalchemy.exc.SQLAlchemyError,
    optuna.exceptions.StorageInternalError,
    json.JSONDecodeError,
    RecursionError,  # over-deep JSON
    ImportError,
)


@contextlib.contextmanager
def reached(storage: str) -> Iterator[None]:
    """Converts database errors to one line, without the password.

    Args:
      storage: URL of the database, or a name for it.

    Raises:
      UserError: If the database cannot be reached, read or written.
      OSError: If its disk is full.
    """
    try:
        yield
    except (*_DATABASE, AssertionError) as error:  # Optuna asserts that it could write
        chain: list[BaseException] = [error]
        while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
            chain.append(before)
        if not any(isinstance(one, _DATABASE) for one in chain):
            raise
        if any("disk is full" in str(one) for one in chain):
            raise OSError(errno.ENOSPC, "no space left", "the study's database") from error
        try:
            shown = sqlalchemy.make_url(storage).render_as_string(hide_password=True)
        except sqlalchemy.exc.ArgumentError:
            shown = storage.partition("://")[0]
        said = str(chain[-1]).strip() or type(error).__name__
        reason = said.splitlines()[0]
        raise UserError("storage", shown, f"a database that can be reached ({reason})") from error


def sqlite_url(path: PathLike) -> str:
    """Returns the URL of an SQLite database.

    Raises:
      UserError: If a URL cannot express the path: with "?", before SQLAlchemy 2.1.
    """
    file = str(pathlib.Path(path).absolute())
    url = sqlalchemy.URL.create("sqlite", database=file).render_as_string(hide_password=False)
    if sqlalchemy.make_url(url).database != file:
        raise UserError("workdir", str(path), "a path without '?', or --storage, a database")
    return url


def must_exist(url: str) -> None:
    """Raises `UserError` if an SQLite file does not exist; SQLite would create it."""
    place = sqlalchemy.make_url(url)
    file = place.database if place.get_backend_name() == "sqlite" else None
    if file and not pathlib.Path(file).exists():
        raise UserError("storage", url, "the database of an existing search")
