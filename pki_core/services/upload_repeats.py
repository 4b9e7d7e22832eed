"""Repeated rows of an upload: a row id belongs to the first row that has it, a name to the first that may be certified.

A cheap look at every row (``name_key``) finds those that may name the same identifier: never too few. Only they are
judged, as signing would judge them, and get their verdict here, all but the one that keeps the name. So whatever is
left of them open can be signed, and no identifier twice.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from pki_core.model.batches import BatchItem, BatchKind, BatchRecord, Verdict
from pki_core.model.errors import CsrRejectedError
from pki_core.model.identifiers import EMAID_LENGTH
from pki_core.model.partners import Partner
from pki_core.model.profiles import IdentifierRule, Profile
from pki_core.services.enroll import judge_request, prove_possession
from pki_core.services.names import NamePolicy
from pki_core.store.unit_of_work import Store
from pki_core.wire.batch_duplicates import RepeatedRows
from pki_core.wire.batch_file import BatchRow
from pki_core.wire.csr import parse_csr, peek_common_name

_REPEATS = {
    "row_id": ("row.duplicate_id", "The row id was used before in this file, in row {first}."),
    "csr": ("row.duplicate_csr", "The same request stands in row {first} of this file."),
    "name": ("row.duplicate_identifier", "Row {first} of this file names the same identifier."),
}
_SEPARATORS = b"-*"
_PIECE = 500

_T = TypeVar("_T")


def name_key(row: BatchRow, kind: BatchKind, rule: IdentifierRule) -> bytes:
    """Return what is equal for all rows that name the same identifier, and for some that do not; b"" = no name."""
    if kind is BatchKind.CONTRACT:
        name: bytes | None = row.expected_identifier.encode()
    else:
        name = peek_common_name(row.csr_der)
    if name is None:
        try:
            name = parse_csr(row.row_id, row.csr_der).subject.common_name.encode()
        except CsrRejectedError:
            return b""  # no request: signing says so
    key = name.upper().translate(None, _SEPARATORS) or name
    return key[:EMAID_LENGTH] if rule is IdentifierRule.EMAID else key


class _Owner(NamedTuple):
    """The row that keeps a name."""

    seq: int
    csr_der: bytes


class _Names:
    """Judges rows that may name the same identifier, in the order of the file."""

    def __init__(self, kind: BatchKind, profile: Profile, partner: Partner, policy: NamePolicy) -> None:
        self._kind = kind
        self._profile = profile
        self._partner = partner
        self._policy = policy
        self._group = -1
        self._owners: dict[str, _Owner] = {}  # by canonical name, of one group

    def judge(self, group: int, item: BatchItem) -> Verdict | None:
        """Return the verdict of a row, None for the row that keeps its name."""
        if group != self._group:
            self._group, self._owners = group, {}
        if self._kind is BatchKind.CONTRACT:
            return self._keep_or_refuse("", item)  # nobody has to prove a key that we make
        common_name = ""
        try:
            request = parse_csr(item.row_id, item.csr_der, item.expected_identifier)
            common_name = request.subject.common_name
            name, _, _ = judge_request(request, self._profile, self._partner, self._policy)
            if name.canonical not in self._owners:
                prove_possession(request, self._profile)
        except CsrRejectedError as error:
            return Verdict(
                seq=item.seq, certificate_id=None, code=error.reason, message=str(error), common_name=common_name
            )
        return self._keep_or_refuse(name.canonical, item)

    def _keep_or_refuse(self, name: str, item: BatchItem) -> Verdict | None:
        owner = self._owners.setdefault(name, _Owner(item.seq, item.csr_der))
        if owner.seq == item.seq:
            return None
        return _repeat(item.seq, "csr" if owner.csr_der == item.csr_der else "name", owner.seq)


class RepeatJudge:
    """Gives their verdict to rows that repeat another."""

    def __init__(self, store: Store, policy: NamePolicy) -> None:
        self._store = store
        self._policy = policy

    def verdicts(self, batch: BatchRecord, repeats: RepeatedRows) -> Iterator[list[Verdict]]:
        """Yield verdicts in pieces; between them no transaction is open."""
        refused: set[int] = set()
        for piece in _pieces(_later(repeats.groups("row_id"))):
            refused.update(seq for seq, _ in piece)
            yield [_repeat(seq, "row_id", first) for seq, first in piece]
        with self._store.reading() as work:
            profile = work.issuers.profile(batch.profile_id)
            partner = work.partners.get(batch.partner_id)
        names = _Names(batch.kind, profile, partner, self._policy)
        groups = enumerate(repeats.groups("name"))
        rows = ((group, seq) for group, seqs in groups for seq in seqs if seq not in refused)
        for piece in _pieces(rows):
            found = self._items(batch, [seq for _, seq in piece])
            judged = [names.judge(group, found[seq]) for group, seq in piece]
            yield [verdict for verdict in judged if verdict is not None]

    def _items(self, batch: BatchRecord, seqs: Sequence[int]) -> dict[int, BatchItem]:
        with self._store.reading() as work:
            return {item.seq: item for item in work.batches.items(batch.number, seqs)}


def _later(groups: Iterator[list[int]]) -> Iterator[tuple[int, int]]:
    """Yield each row but the first of its group, with that first one."""
    for first, *others in groups:
        yield from ((seq, first) for seq in others)


def _pieces(rows: Iterator[_T]) -> Iterator[list[_T]]:
    while piece := list(islice(rows, _PIECE)):
        yield piece


def _repeat(seq: int, kind: str, first: int) -> Verdict:
    code, message = _REPEATS[kind]
    return Verdict(seq=seq, certificate_id=None, code=code, message=message.format(first=first + 1), common_name="")
