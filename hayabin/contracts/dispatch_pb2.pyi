from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MailBatch(_message.Message):
    __slots__ = ("version", "tenant_id", "campaign_id", "attempt", "pool", "lane", "mails", "lease_expires_ms", "launched_ms")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    MAILS_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    LAUNCHED_MS_FIELD_NUMBER: _ClassVar[int]
    version: int
    tenant_id: int
    campaign_id: int
    attempt: int
    pool: str
    lane: str
    mails: _containers.RepeatedCompositeFieldContainer[Mail]
    lease_expires_ms: int
    launched_ms: int
    def __init__(self, version: _Optional[int] = ..., tenant_id: _Optional[int] = ..., campaign_id: _Optional[int] = ..., attempt: _Optional[int] = ..., pool: _Optional[str] = ..., lane: _Optional[str] = ..., mails: _Optional[_Iterable[_Union[Mail, _Mapping]]] = ..., lease_expires_ms: _Optional[int] = ..., launched_ms: _Optional[int] = ...) -> None: ...

class Mail(_message.Message):
    __slots__ = ("message_id", "return_path", "recipient", "content")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    RETURN_PATH_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    message_id: int
    return_path: str
    recipient: str
    content: bytes
    def __init__(self, message_id: _Optional[int] = ..., return_path: _Optional[str] = ..., recipient: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...
