"""Messages come back as they were sent, however they were put together."""

from hypothesis import given
from hypothesis import strategies as st

from hayabin.contracts.codec import decode, encode, encode_batch
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch

TEXTS = st.text(max_size=60)
ENVELOPES = st.builds(Mail, message_id=st.integers(0, 2**64 - 1), return_path=TEXTS, recipient=TEXTS)
CONTENTS = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([b"x" * size for size in (127, 128, 2**14 - 1, 2**14, 2**21)]),  # where lengths get a byte longer
)
MAILS = st.lists(st.tuples(ENVELOPES, CONTENTS), max_size=5)


def head() -> MailBatch:
    """A batch without mails; it has fields before and after theirs."""
    return MailBatch(
        tenant_id=3, campaign_id=7, attempt=1, pool="main", lane="gmail", lease_expires_ms=2**41, launched_ms=2**40
    )


@given(MAILS)
def test_batch_encoded_with_its_mails_reads_back_as_one_that_holds_them(mails: list[tuple[Mail, bytes]]) -> None:
    """Protobuf itself, asked to write the same batch, is read as the same message."""
    whole = head()
    for envelope, content in mails:
        added = whole.mails.add()
        added.CopyFrom(envelope)
        added.content = content
    assert decode(MailBatch, encode_batch(head(), mails)) == decode(MailBatch, encode(whole))


def test_batch_encoded_twice_is_the_same() -> None:
    """The compressor that a thread keeps carries nothing from one batch to the next."""
    mails = [(Mail(message_id=1, return_path="b@x.example", recipient="a@y.example"), b"content" * 100)]
    assert encode_batch(head(), mails) == encode_batch(head(), mails)
