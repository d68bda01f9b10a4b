"""Questions to the database whose SQL is put together once.

The ORM takes a few tenths of a millisecond to put a statement together, several times
as long as the database takes to answer one by a key. What is asked in every small sync
adds up.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from django.db import connection
from django.db.models import Field, Model, QuerySet
from django.db.models import query as queries
from django.db.models.sql import UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

from jamfidp.gathered import Answer, ask_later, asking, send

Row = TypeVar("Row", bound=tuple[Any, ...])
Object = TypeVar("Object", bound=Model)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Compiled:
    """A query set with parameters, put together once and asked as one likes."""

    def __init__(self, build: Callable[..., QuerySet[Any, Any]]) -> None:
        self._statement = _Kinds(
            lambda *given: build(*given).query.get_compiler(connection=connection)
        )

    def with_(self, *parameters: int | str | datetime) -> "Question":
        """Return it as a question for `asked_together`."""
        return Question(self, parameters)

    def told(self, parameters: tuple[Any, ...]) -> tuple[str, list[Any]]:
        statement = self._statement(parameters)
        return statement.sql, statement.values(parameters)

    def converted(
        self, found: list[tuple[Any, ...]], parameters: tuple[Any, ...]
    ) -> list[tuple[Any, ...]]:
        return self._statement(parameters).converted(found)


class Compiled(_Compiled, Generic[Row]):
    """A query set of `values_list()` with parameters, asked as often as one likes.

    `build` is called with stand-ins for its parameters, once for each kind of database
    and each combination of their types; so it must not look at them. Each has to be
    compared as it is: `__in` and comparisons of parts of texts are not for it.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Row]]) -> None:
        super().__init__(build)

    def rows(self, *parameters: int | str | datetime) -> list[Row]:
        return answers_to(self.with_(*parameters))

    def any(self, *parameters: int | str | datetime) -> bool:
        """Whether there is a row. Have `build` ask for one alone."""
        return bool(self.rows(*parameters))


class CompiledObjects(_Compiled, Generic[Object]):
    """As `Compiled`, of a query set of objects, with others that it selects along."""

    def __init__(self, build: Callable[..., QuerySet[Object]]) -> None:
        super().__init__(build)

    def all(self, *parameters: int | str | datetime) -> list[Object]:
        found = answers_to(self.with_(*parameters))
        return self._statement(parameters).objects(found)

    def first(self, *parameters: int | str | datetime) -> Object | None:
        """Return one, or None. Have `build` ask for one alone."""
        return next(iter(self.all(*parameters)), None)


class CompiledUpdate:
    """As `Compiled`; `build` returns rows to update, and their new columns."""

    def __init__(
        self, build: Callable[..., tuple[QuerySet[Any], dict[str, Any]]]
    ) -> None:
        def compiler(*given: Any) -> SQLCompiler:
            rows, columns = build(*given)
            query = cast("UpdateQuery", rows.query.chain(UpdateQuery))
            query.add_update_values(columns)
            return cast("SQLCompiler", query.get_compiler(connection=connection))

        self._statement = _Kinds(compiler)

    def told(self, *parameters: int | str | datetime) -> tuple[str, list[Any]]:
        """Return the statement and its values, for `durability` and `gathered`."""
        statement = self._statement(parameters)
        return statement.sql, statement.values(parameters)


class Added(NamedTuple):
    """What a `CompiledChange` adds to the number in a column."""

    number: int


class CompiledChange:
    """As `CompiledUpdate`, of any columns: `build` returns the rows alone, which it
    chooses by their own columns."""

    def __init__(self, build: Callable[..., QuerySet[Any]]) -> None:
        self._condition = _Kinds(
            lambda *given: _Condition(build(*given).query, connection, None)
        )

    def told(
        self, *parameters: int | str | datetime, **columns: Any
    ) -> tuple[str, list[Any]]:
        """Return the statement and its values; numbers may be `Added` to columns."""
        condition = self._condition(parameters)
        table, fields = _table_of(condition.model)
        assigned, values = [], []
        for name, value in columns.items():
            column, field = fields[name]
            if isinstance(value, Added):
                assigned.append(f"{column} = {table}.{column} + %s")
                values.append(value.number)
            else:
                assigned.append(f"{column} = %s")
                values.append(field.get_db_prep_save(value, connection))
        return (
            f"UPDATE {table} SET {', '.join(assigned)} WHERE {condition.sql}",  # noqa: S608
            values + condition.values(parameters),
        )


# Both databases quote alike.
@cache
def _table_of(
    model: type[Model],
) -> tuple[str, dict[str, tuple[str, Field[Any, Any]]]]:
    """Return its name, and its columns with their fields, by name."""
    quoted, meta = connection.ops.quote_name, model._meta
    fields = meta.concrete_fields
    return quoted(meta.db_table), {
        field.name: (quoted(field.column), field) for field in fields
    }


def told_of_new(row: Model) -> tuple[str, list[Any]]:
    """Return the statement that stores an object and answers with its key, and its
    values."""
    table, fields = _table_of(type(row))
    key = row._meta.pk
    stored = [each for each in fields.values() if each[1] is not key]
    names = ", ".join(column for column, _field in stored)
    marks = ", ".join(["%s"] * len(stored))
    returned = connection.ops.quote_name(str(key.column))
    return (
        f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING {returned}",  # noqa: S608
        [
            field.get_db_prep_save(field.pre_save(row, add=True), connection)
            for _column, field in stored
        ],
    )


class _Condition(SQLCompiler):
    """Puts together the condition of a query, and nothing of the rest."""

    def as_sql(self, *_args: Any, **_named: Any) -> tuple[str, tuple[Any, ...]]:
        # The stubs do not know that it is compiled like an expression.
        sql, values = self.compile(cast("Any", self.query.where))
        return sql, tuple(values)


class Askable(Protocol):
    """What a question asks, whatever the parameters; one is equal to itself alone, or
    to whatever asks the same."""

    def told(self, parameters: Any) -> tuple[str, list[Any]]:
        """Return the statement and its values."""
        ...

    def converted(
        self, found: list[tuple[Any, ...]], parameters: Any
    ) -> list[tuple[Any, ...]]:
        """Return rows of the database as they are meant."""
        ...


class Question(NamedTuple):
    """What is asked, with its parameters; of an empty set nothing is asked."""

    asked: Askable
    parameters: Hashable


_NOBODY: frozenset[Any] = frozenset()
# What was asked ahead, until somebody takes the answers.
_AHEAD: ContextVar[dict[Question, Answer] | None] = ContextVar("ahead", default=None)


@contextmanager
def asked_together(questions: Iterable[Question]) -> Iterator[None]:
    """Ask in one message to PostgreSQL what is asked inside, one after the other.

    They go with the first statement that is executed inside, and before it. Whoever
    asks one of them first is given what was answered then; whoever asks it again has it
    asked again. So inside nothing may be written between that could change an answer.
    SQLite answers without messages.
    """
    if connection.vendor != "postgresql":
        yield
        return
    before = _AHEAD.get() or {}
    with asking():
        ahead = dict(before)
        for question in questions:
            if question not in ahead and question.parameters != _NOBODY:
                ahead[question] = ask_later(*question.asked.told(question.parameters))
        known = _AHEAD.set(ahead)
        try:
            yield
        finally:
            _AHEAD.reset(known)


def ask_anew() -> None:
    """Forget what was asked ahead here: time went by, and others may have written."""
    if ahead := _AHEAD.get():
        ahead.clear()


def answers_to(question: Question) -> list[Any]:
    """Return the rows that a question finds: asked now, unless they are known."""
    asked, parameters = question
    if parameters == _NOBODY:
        return []
    ahead = _AHEAD.get()
    answer = ahead.pop(question, None) if ahead else None
    if answer is not None:
        if answer.rows is None:
            send()
        # Lost, where a statement failed with which it went.
        if answer.rows is not None:
            found, answer.rows = answer.rows, None
            return asked.converted(found, parameters)
    with connection.cursor() as cursor:
        cursor.execute(*asked.told(parameters))
        return asked.converted(cursor.fetchall(), parameters)


class _Kinds:
    """The statements of one question: for each database and types of parameters."""

    def __init__(self, compiler: Callable[..., SQLCompiler]) -> None:
        self._compiler = compiler
        self._known: dict[tuple[str, tuple[type, ...]], _Statement] = {}

    def __call__(self, parameters: tuple[Any, ...]) -> "_Statement":
        kinds = tuple(map(type, parameters))
        statement = self._known.get((connection.vendor, kinds))
        if statement is None:
            statement = _Statement(self._compiler, kinds)
            self._known[connection.vendor, kinds] = statement
        return statement


class _Statement:
    """A question as one kind of database takes it."""

    def __init__(
        self, build: Callable[..., SQLCompiler], kinds: tuple[type, ...]
    ) -> None:
        stand_ins = [_stand_in(kind, at) for at, kind in enumerate(kinds)]
        compiler = build(*stand_ins)
        self.sql, values = compiler.as_sql()
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
        # An update selects nothing.
        selected = compiler.select or []
        columns = [each[0] for each in selected[: getattr(compiler, "col_count", 0)]]
        self.model = cast("type[Model]", compiler.query.model)
        self._compiler = compiler
        self._converters = compiler.get_converters(columns)
        self._objects = _Objects(compiler) if compiler.klass_info else None

    def objects(self, rows: list[tuple[Any, ...]]) -> list[Any]:
        assert self._objects is not None  # noqa: S101 - what `build` returns says so
        return list(map(self._objects.made, rows))

    def values(self, parameters: tuple[Any, ...]) -> list[Any]:
        values = list(self._values)
        for at, parameter in self._places:
            values[at] = _adapted(parameters[parameter])
        return values

    def converted(self, found: list[Any]) -> list[Any]:
        if not self._converters:
            return list(found)
        return list(
            map(tuple, self._compiler.apply_converters(found, self._converters))
        )


class _Objects:
    """How rows become objects, as they do in a query set."""

    def __init__(self, compiler: SQLCompiler) -> None:
        info = compiler.klass_info
        assert info is not None  # noqa: S101 - asked before
        selected = info["select_fields"]
        self._model: type[Model] = info["model"]
        self._from, self._to = selected[0], selected[-1] + 1
        columns = compiler.select[self._from : self._to]
        self._names = [each[0].target.attname for each in columns]
        # Not in the stubs of Django.
        populators: Any = vars(queries)["get_related_populators"]
        self._along = populators(info, compiler.select, connection.alias)
        self._more = compiler.annotation_col_map or {}

    def made(self, row: tuple[Any, ...]) -> Model:
        found = self._model.from_db(
            connection.alias, self._names, row[self._from : self._to]
        )
        for each in self._along:
            each.populate(row, found)
        for name, at in self._more.items():
            setattr(found, name, row[at])
        return found


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
