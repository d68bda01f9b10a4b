"""The numbers of a tenant's objects, given at first sight for good, and their hashes."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from django.db import connection
from pyroaring import BitMap

from directory.entra.ids import are_guids
from directory.entra.objects import unreadable
from directory.models import CloudIdentityProvider, DirectoryObject, ObservedHash
from directory.sync import rows
from jamfidp.durability import may_be_lost

Kind = DirectoryObject.Kind
_OBJECT_ID = itemgetter(2)
READ_AT_ONCE = 10_000
# A full read takes new numbers in blocks: what is left of one leaves a gap. The first
# is so large, and each other one as large as what was taken before, up to a limit.
BLOCK = 1_000
LARGEST_BLOCK = 16_000
# Of so many that are looked up their hashes are read with their numbers: of many, most
# are members, whose hashes nobody wants to know.
FEW = 200


@dataclass(slots=True)
class Register:
    """Numbers by object id, as far as a run needs them.

    A full read loads all of them; a read of changes looks up what it meets. New ones
    are kept in `given` until they are stored with the page that named them.
    """

    cloud_idp: CloudIdentityProvider
    whole: bool
    numbers: dict[str, int] = field(default_factory=dict)
    hashes: dict[int, int] = field(default_factory=dict)
    # Those that Entra listed when it was last asked, of a full read.
    listed: dict[Kind, BitMap] = field(
        default_factory=lambda: {Kind.USER: BitMap(), Kind.GROUP: BitMap()}
    )
    given: list[tuple[int, int, str, str]] = field(default_factory=list)
    # The hashes of some that were looked up, until somebody wants to know them.
    _met: dict[int, int | None] = field(default_factory=dict)
    _reserved: list[int] = field(default_factory=list)
    # How many were taken from the database.
    _taken: int = 0

    def load(self) -> None:
        """Read every number and hash of the connection."""
        hashed = ObservedHash.objects.filter(cloud_idp=self.cloud_idp)
        self.hashes = dict(hashed.values_list("number", "value").iterator(READ_AT_ONCE))
        kinds: dict[str, list[int]] = {kind.value: [] for kind in Kind}
        seen = DirectoryObject.objects.filter(cloud_idp=self.cloud_idp)
        for object_id, number, kind in seen.values_list(
            "object_id", "id", "kind"
        ).iterator(READ_AT_ONCE):
            self.numbers[object_id] = number
            kinds[kind].append(number)
        hashes = BitMap(self.hashes)
        for kind in self.listed:
            self.listed[kind] = BitMap(kinds[kind.value]) & hashes

    def know(self, wanted: Mapping[str, Kind]) -> None:
        """Have a number for each of these object ids, giving those that have none.

        Raises:
            GraphResponseError: one of them is not a GUID.
        """
        numbers = self.numbers
        unknown = [each for each in wanted if each not in numbers]
        if not unknown:
            return
        if not are_guids(unknown):
            raise unreadable("id of an object: it is not a GUID")
        missing = {object_id.lower(): wanted[object_id] for object_id in unknown}
        if not self.whole:
            self._look_up(missing)
        new = [each for each in missing if each not in numbers]
        given = self._numbers_for(len(new))
        numbers.update(zip(new, given, strict=True))
        idp = self.cloud_idp.pk
        self.given += [
            (number, idp, object_id, missing[object_id].value)
            for number, object_id in zip(given, new, strict=True)
        ]
        for object_id in unknown:
            if object_id not in numbers:
                # Microsoft writes them in lower case; whoever does not is understood.
                numbers[object_id] = numbers[object_id.lower()]

    def _numbers_for(self, count: int) -> list[int]:
        if len(self._reserved) < count:
            missing = count - len(self._reserved)
            block = missing
            if self.whole:
                block = max(missing, min(max(self._taken, BLOCK), LARGEST_BLOCK))
            # Before a row with such a number is on disk, what is taken here is.
            with may_be_lost():
                self._reserved += rows.reserve_ids(DirectoryObject, block)
            self._taken += block
        taken, self._reserved = self._reserved[:count], self._reserved[count:]
        return taken

    def _look_up(self, object_ids: Collection[str]) -> None:
        idp = self.cloud_idp.pk
        if len(object_ids) > FEW:
            names = ("object_id", "id")
            self.numbers.update(
                rows.read(
                    DirectoryObject, names, "object_id", object_ids, cloud_idp_id=idp
                )
            )
            return
        among, wanted = rows.among(DirectoryObject, "object_id", object_ids)
        with connection.cursor() as cursor:
            cursor.execute(_WITH_HASHES.format(among=among), [wanted, idp])
            for object_id, number, value in cursor.fetchall():
                self.numbers[object_id] = number
                self._met[number] = value

    def know_hashes(self, numbers: Iterable[int]) -> None:
        """Have the hashes of people or groups that are about to be compared."""
        if self.whole:
            return
        idp, names = self.cloud_idp.pk, ("number", "value")
        missing = []
        for number in numbers:
            if number not in self._met:
                missing.append(number)
            elif (value := self._met[number]) is not None:
                self.hashes[number] = value
        self.hashes.update(
            rows.read(ObservedHash, names, "number", missing, cloud_idp_id=idp)
        )

    def forget(self) -> None:
        """Let go of what a whole directory takes of memory."""
        self.numbers, self.hashes, self._met = {}, {}, {}

    def store(self) -> None:
        """Store the numbers in `given`. Call it in a transaction; once that is
        committed, empty them."""
        # In the order of the index by object id, which is large and at random else.
        self.given.sort(key=_OBJECT_ID)
        rows.insert_plain(
            DirectoryObject, ("id", "cloud_idp_id", "object_id", "kind"), self.given
        )


_WITH_HASHES = (
    "SELECT seen.object_id, seen.id, hashed.value"  # noqa: S608
    f" FROM {DirectoryObject._meta.db_table} AS seen"
    f" LEFT JOIN {ObservedHash._meta.db_table} AS hashed"
    " ON hashed.cloud_idp_id = seen.cloud_idp_id AND hashed.number = seen.id"
    " WHERE seen.object_id {among} AND seen.cloud_idp_id = %s"
)


def object_ids(numbers: Iterable[int]) -> dict[int, str]:
    """Return the object id behind each number."""
    return dict(rows.read(DirectoryObject, ("id", "object_id"), "id", numbers))
