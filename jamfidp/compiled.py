"""Questions to the database whose SQL is put together once.

The ORM takes a few tenths of a millisecond to put a statement together, several times
as long as the database takes to answer one by a key. What is asked in every small sync
adds up.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import QuerySet
from django.db.models.sql.compiler import SQLCompiler

Row = TypeVar("Row", bound=tuple[Any, ...])

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Compiled(Generic[Row]):
    """A query set of `values_list()` with parameters, asked as often as one likes.

    `build` is called with stand-ins for its parameters, once for each kind of database
    and each combination of their types; so it must not look at them. Each has to be
    compared as it is: `__in` and comparisons of parts of texts are not for it.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Row]]) -> None:
        self._build = build
        self._known: dict[tuple[str, tuple[type, ...]], _Statement] = {}

    def rows(self, *parameters: int | str | datetime) -> list[Row]:
        kinds = tuple(map(type, parameters))
        statement = self._known.get((connection.vendor, kinds))
        if statement is None:
            statement = _Statement(self._build, kinds)
            self._known[connection.vendor, kinds] = statement
        return statement.rows(parameters)

    def any(self, *parameters: int | str | datetime) -> bool:
        """Whether there is a row. Have `build` ask for one alone."""
        return bool(self.rows(*parameters))


class _Statement:
    """A question as one kind of database takes it."""

    def __init__(
        self, build: Callable[..., QuerySet[Any, Any]], kinds: tuple[type, ...]
    ) -> None:
        stand_ins = [_stand_in(kind, at) for at, kind in enumerate(kinds)]
        compiler: SQLCompiler = build(*stand_ins).query.get_compiler(
            connection=connection
        )
        self._sql, values = compiler.as_sql()
        # Where the parameters go among the values of the statement.
        self._values: list[Any] = list(values)
        places = {_adapted(each): at for at, each in enumerate(stand_ins)}
        self._places = [
            (at, places[value])
            for at, value in enumerate(self._values)
            if isinstance(value, int | str | datetime) and value in places
        ]
        if {parameter for _at, parameter in self._places} != set(range(len(kinds))):
            raise ValueError("a parameter is not compared as it is")
        columns = [each[0] for each in compiler.select[: compiler.col_count]]
        self._compiler = compiler
        self._converters = compiler.get_converters(columns)

    def rows(self, parameters: tuple[Any, ...]) -> list[Any]:
        values = list(self._values)
        for at, parameter in self._places:
            values[at] = _adapted(parameters[parameter])
        with connection.cursor() as cursor:
            cursor.execute(self._sql, values)
            found = cursor.fetchall()
        if not self._converters:
            return list(found)
        return list(
            map(tuple, self._compiler.apply_converters(found, self._converters))
        )


def _stand_in(kind: type, at: int) -> Any:
    """A value that stands in no statement by itself."""
    if issubclass(kind, datetime):
        return _EPOCH + timedelta(microseconds=at + 1)
    if issubclass(kind, str):
        return f"\ue000{at}"
    return 2_100_000_000 + at


def _adapted(value: Any) -> Any:
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value
