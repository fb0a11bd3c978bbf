"""Every kind of problem: the last part of its ``type``, and what to do about it.

Promises: a kind keeps its name for good; ``/problems/<kind>`` explains it. Tests hold the code against this table.
"""

KINDS: dict[str, str] = {
    "bad-request": "The request cannot be read as HTTP or JSON. Look at its form.",
    "unauthenticated": "There is no valid API key: it is missing, mistyped, revoked or expired. "
    "Make one with `hayabin admin create-key`.",
    "missing-scope": "The API key is valid but lacks the scope that `detail` names. Make a key that has it.",
    "not-found": "There is no such thing, or it belongs to another tenant. Look at the id.",
    "method-not-allowed": "The address is right, the method is not. Look at the reference.",
    "request-timeout": "The body did not come in time. Send the request again.",
    "conflict": "Something that the request refers to has changed meanwhile. Read it again, then decide.",
    "name-taken": "Names are unique within a tenant. Take another one, or use what is there.",
    "wrong-state": "The state of the campaign or of the message does not allow this move (see the states in the "
    "documentation).",
    "pool-removed": "The campaign's IP pool was removed. Choose another pool for it, or take the pool back.",
    "pool-in-use": "Campaigns that may still send use this pool. Say with `move_to` which pool they go on with.",
    "address-in-use": "A source IP sends for one pool only. Remove it from the pool that `detail` names first.",
    "unverified-domain": "The sending domain is not verified. Publish its DNS records and verify it.",
    "records-missing": "Not every DKIM record was found as shown. DNS takes a while: compare, wait, verify again.",
    "idempotency-in-flight": "The first request with this key is still being worked on. Wait for Retry-After.",
    "too-large": "The body is over the limit: 2 MiB, or 512 MiB for an import.",
    "unsupported-media-type": "The body is of a kind that this address does not take. Look at the reference.",
    "invalid-request": "The request does not have the documented form: `errors` names each place.",
    "invalid-address": "The address is none that every mail server reads alike: `errors` says why.",
    "invalid-cursor": "Take the cursor from `next_cursor` of the page before, unchanged, for the same query.",
    "invalid-idempotency-key": "An Idempotency-Key has 1 to 200 printable characters.",
    "idempotency-key-reused": "This Idempotency-Key belongs to a different request. Make a new one for each intent.",
    "invalid-multipart": "The multipart body cannot be read, or has no file in it.",
    "empty-file": "The uploaded file has no bytes.",
    "foreign-domain": "The sender's domain is none of yours. Add it first.",
    "empty-audience": "Nobody is subscribed to the list. Import contacts, or choose another list.",
    "deadline-passed": "`send_by` is in the past: everything would expire. Move the deadline.",
    "invalid-template": "The template cannot be compiled: `errors` has each place with its line.",
    "merge-field-missing": "The template asks for a field that the sample values do not have.",
    "render-limit-exceeded": "The template takes more steps or room than a mail may have. Look for a loop.",
    "render-failed": "The template does something impossible with a value: `detail` says what.",
    "too-many-requests": "This API key is over its rate. Wait for Retry-After.",
    "too-many-uploads": "This tenant has its share of uploads under way. Wait for one to end.",
    "dns-unavailable": "The DNS did not answer. Try again.",
    "belt-unavailable": "The belt (RabbitMQ) is away or takes nothing: `detail` quotes it. Nothing was done. Reads, "
    "pause, cancel and schedules work; wait for Retry-After.",
    "installation-held": "Nothing is sent until an operator decides: `detail` says why. Nothing was done. See "
    "`hayabin admin status`, then `hayabin admin release`.",
    "scheduler-silent": "No scheduler has given a sign for a minute, so nothing would be sent. Nothing was done. "
    "Start one.",
    "backlog-full": "Too much waits to be sent already: `detail` says what. Nothing was done. Wait for Retry-After.",
    "storage-full": "The database has no room left; nothing was done. The operator must give it more.",
    "outcome-unknown": "The database went away before it said whether the request was done. Ask again with the same "
    "Idempotency-Key, which has one effect; without one, look first.",
    "unavailable": "Something that Hayabin needs is away for the moment; nothing was done. Wait for Retry-After.",
    "internal-error": "This is our fault and was logged with the `trace_id`. Nothing was done.",
}
