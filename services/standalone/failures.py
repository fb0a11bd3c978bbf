"""What may go wrong in a run in a way that people can do something about: told as a sentence, without a traceback."""

from services.standalone.child import ChildFailed
from services.standalone.places import AlreadyRunning
from services.standalone.postgres import PostgresFailed
from services.standalone.reach import Unreachable
from services.standalone.recipients import RecipientFailed
from services.standalone.rest import RestFailed
from services.standalone.story import StoryFailed

FAILURES = (
    AlreadyRunning,
    ChildFailed,
    PostgresFailed,
    Unreachable,
    RecipientFailed,
    RestFailed,
    StoryFailed,
    OSError,
)
