from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EngagementKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENGAGEMENT_KIND_UNSPECIFIED: _ClassVar[EngagementKind]
    ENGAGEMENT_KIND_OPEN: _ClassVar[EngagementKind]
    ENGAGEMENT_KIND_CLICK: _ClassVar[EngagementKind]
    ENGAGEMENT_KIND_UNSUBSCRIBE: _ClassVar[EngagementKind]
ENGAGEMENT_KIND_UNSPECIFIED: EngagementKind
ENGAGEMENT_KIND_OPEN: EngagementKind
ENGAGEMENT_KIND_CLICK: EngagementKind
ENGAGEMENT_KIND_UNSUBSCRIBE: EngagementKind

class EventBatch(_message.Message):
    __slots__ = ("version", "events")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    version: int
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, version: _Optional[int] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("event_id", "occurred_ms", "delivery", "engagement", "bounce")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_MS_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    ENGAGEMENT_FIELD_NUMBER: _ClassVar[int]
    BOUNCE_FIELD_NUMBER: _ClassVar[int]
    event_id: bytes
    occurred_ms: int
    delivery: DeliveryEvent
    engagement: EngagementEvent
    bounce: BounceEvent
    def __init__(self, event_id: _Optional[bytes] = ..., occurred_ms: _Optional[int] = ..., delivery: _Optional[_Union[DeliveryEvent, _Mapping]] = ..., engagement: _Optional[_Union[EngagementEvent, _Mapping]] = ..., bounce: _Optional[_Union[BounceEvent, _Mapping]] = ...) -> None: ...

class DeliveryEvent(_message.Message):
    __slots__ = ("tenant_id", "campaign_id", "message_id", "attempt", "state", "reason", "suppress")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SUPPRESS_FIELD_NUMBER: _ClassVar[int]
    tenant_id: int
    campaign_id: int
    message_id: int
    attempt: int
    state: str
    reason: str
    suppress: bool
    def __init__(self, tenant_id: _Optional[int] = ..., campaign_id: _Optional[int] = ..., message_id: _Optional[int] = ..., attempt: _Optional[int] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., suppress: _Optional[bool] = ...) -> None: ...

class EngagementEvent(_message.Message):
    __slots__ = ("message_id", "kind", "link", "user_agent")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    USER_AGENT_FIELD_NUMBER: _ClassVar[int]
    message_id: int
    kind: EngagementKind
    link: int
    user_agent: str
    def __init__(self, message_id: _Optional[int] = ..., kind: _Optional[_Union[EngagementKind, str]] = ..., link: _Optional[int] = ..., user_agent: _Optional[str] = ...) -> None: ...

class BounceEvent(_message.Message):
    __slots__ = ("mail_from", "rcpt_to", "remote_address", "content")
    MAIL_FROM_FIELD_NUMBER: _ClassVar[int]
    RCPT_TO_FIELD_NUMBER: _ClassVar[int]
    REMOTE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    mail_from: str
    rcpt_to: str
    remote_address: str
    content: bytes
    def __init__(self, mail_from: _Optional[str] = ..., rcpt_to: _Optional[str] = ..., remote_address: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...
