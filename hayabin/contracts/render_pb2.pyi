from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class RenderChunk(_message.Message):
    __slots__ = ("version", "tenant_id", "campaign_id", "attempt", "message_ids", "lease_expires_ms", "launched_ms")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    LAUNCHED_MS_FIELD_NUMBER: _ClassVar[int]
    version: int
    tenant_id: int
    campaign_id: int
    attempt: int
    message_ids: _containers.RepeatedScalarFieldContainer[int]
    lease_expires_ms: int
    launched_ms: int
    def __init__(self, version: _Optional[int] = ..., tenant_id: _Optional[int] = ..., campaign_id: _Optional[int] = ..., attempt: _Optional[int] = ..., message_ids: _Optional[_Iterable[int]] = ..., lease_expires_ms: _Optional[int] = ..., launched_ms: _Optional[int] = ...) -> None: ...
