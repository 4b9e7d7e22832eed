"""OCSP responses signed ahead, for every unexpired certificate whose stored one is missing or past half its life.

Running it again does what is left; two at once do not disturb each other. A certificate that is revoked while its
response is being signed keeps none: responses are stored only where the status is still the one they tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pki_core.model.errors import ConflictError, NotAuthorizedError, ResponderUnavailableError
from pki_core.model.ocsp import OcspPolicy, StatusAnswer, StatusRecord, StoredAnswer
from pki_core.services.ocsp_directory import AnsweredCa, OcspDirectory
from pki_core.services.ocsp_signing import OcspSigner
from pki_core.store.unit_of_work import Store
from pki_core.wire.ocsp_response import CertificateIdForm

_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshReport:
    """What a refresh did."""

    signed: int
    kept: int  # stored ones that were young enough
    dropped: int  # stored ones past their next update
    unanswered: tuple[str, ...]  # labels of CAs nobody may answer for now
    oldest_this_update: int | None  # seconds since 1970; None = nothing is stored


class OcspRefresh:
    """Signs ahead."""

    def __init__(self, store: Store, signer: OcspSigner, policy: OcspPolicy) -> None:
        self._store = store
        self._signer = signer
        self._policy = policy

    def run(self, *, dry_run: bool = False) -> RefreshReport:
        """Sign what is missing or old, CA by CA, page by page; a dry run only counts it.

        Raises:
            UnavailableError: store or token went away; what was signed so far is stored.
        """
        directory = OcspDirectory(self._store).current()
        signed = kept = 0
        unanswered = []
        for ca in directory.cas:
            try:
                ca.responder(self._signer.now())
            except (NotAuthorizedError, ResponderUnavailableError):
                unanswered.append(ca.record.label)
                continue
            done = self._refresh_ca(ca, directory.ca_serials, dry_run=dry_run)
            signed, kept = signed + done[0], kept + done[1]
        dropped = 0
        if not dry_run:
            self._signer.note()
            with self._store.transaction() as work:
                dropped = work.ocsp.drop_expired(self._signer.now())
        with self._store.reading() as work:
            oldest = work.ocsp.oldest_this_update()
        return RefreshReport(
            signed=signed, kept=kept, dropped=dropped, unanswered=tuple(unanswered), oldest_this_update=oldest
        )

    def _refresh_ca(self, ca: AnsweredCa, ca_serials: frozenset[tuple[int, str]], *, dry_run: bool) -> tuple[int, int]:
        forms = [
            CertificateIdForm(algorithm, ca.record.subject_der, ca.record.spki_der)
            for algorithm in self._policy.hash_algorithms
        ]
        signed = kept = 0
        after = ""
        while True:
            now = self._signer.now()
            with self._store.reading() as work:
                page = work.ocsp.page(ca.record.id, after, now, _PAGE)
                times = work.ocsp.stored_times(ca.record.id, [record.serial for record in page]) if page else {}
            if not page:
                return signed, kept
            after = page[-1].serial
            young = {key for key, (first, last) in times.items() if now < first + (last - first) // 2}
            wanted = [
                (record, form) for record in page for form in forms if (record.serial, form.hash_algorithm) not in young
            ]
            kept += len(page) * len(forms) - len(wanted)
            if dry_run:
                signed += len(wanted)
            elif wanted:
                signed += self._sign(ca, now, wanted, ca_serials)

    def _sign(
        self,
        ca: AnsweredCa,
        now: int,
        wanted: Sequence[tuple[StatusRecord, CertificateIdForm]],
        ca_serials: frozenset[tuple[int, str]],
    ) -> int:
        responder = ca.responder(now)
        answers = []
        for record, form in wanted:
            is_ca = (ca.record.id, record.serial) in ca_serials
            due = min(now + (self._policy.ca_seconds if is_ca else self._policy.leaf_seconds), responder.not_after)
            answers.append(StatusAnswer(form.der(record.serial), record, now, due, None))
        ders = self._signer.sign(responder, now, [[answer] for answer in answers])
        made = [
            (record, StoredAnswer(record.serial, form.hash_algorithm, now, answer.next_update, der))
            for (record, form), answer, der in zip(wanted, answers, ders, strict=True)
        ]
        try:
            with self._store.transaction() as work:
                serials = sorted({record.serial for record, _ in made})
                still = work.ocsp.status(ca.record.id, serials, lock=True)
                true = [stored for record, stored in made if still.get(record.serial) == record]
                work.ocsp.store(ca.record.id, true)
        except ConflictError:
            return 0  # another refresh stored them at the same moment
        return len(true)
