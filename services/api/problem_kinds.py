"""Every kind of problem: the last part of its ``type``, and what to do about it.

Promises: a kind keeps its name for good; ``/problems/<kind>`` explains it. Tests hold the code against this table.
"""

KINDS: dict[str, str] = {
    "bad-request": "The request cannot be read as HTTP or JSON. Look at its form.",
    "unauthenticated": "There is no valid API key: it is missing, mistyped, revoked or expired. "
    "Make one with `hayabin admin create-key`.",
    "missing-scope": "The API key is valid but lacks the scope that `detail` names. Make a key that has it.",
    "key-not-from-here": "The API key is valid, but bound to networks (`cidrs`) that the request does not come from. "
    "Call from there, or make a key for here. Behind a proxy the operator sets HAYABIN_TRUSTED_PROXIES.",
    "key-ended": "The API key is revoked or expired and cannot be rotated. Make a new one.",
    "last-admin": "A tenant keeps at least one active admin. Make somebody else admin first.",
    "not-found": "There is no such thing, or it belongs to another tenant. Look at the id.",
    "method-not-allowed": "The address is right, the method is not. Look at the reference.",
    "request-timeout": "The body did not come in time. Send the request again.",
    "conflict": "Something that the request refers to has changed meanwhile. Read it again, then decide.",
    "erased": "Whoever has this address had their data erased. They come back by an act of their own alone, such as a "
    "sign-up that they confirm.",
    "name-taken": "Names are unique within a tenant. Take another one, or use what is there.",
    "limit-reached": "There are as many of these as there may be. Remove one first.",
    "values-do-not-fit": "Contacts have values that the definition would not allow: `errors` counts them by reason. "
    "Change or remove those, or choose another type or wider limits.",
    "stage-in-use": "Contacts have a stage that would be gone: `errors` counts them. Give them another one first.",
    "same-contact": "A contact cannot be merged with itself. Look at the ids.",
    "not-finished": "The job is still at work. Ask for its state, and again when it is `completed`.",
    "expired": "What was asked for was kept for some days, which are over. Ask for it anew.",
    "wrong-state": "The state of the campaign, the message or the job does not allow this move (see the states in the "
    "documentation).",
    "pool-removed": "The campaign's IP pool was removed. Choose another pool for it, or take the pool back.",
    "pool-in-use": "Campaigns or forms that may still send use this pool. Say with `move_to` which pool they go "
    "on with.",
    "opted-out": "The contact left by an act of their own and comes back by one alone: a sign-up form, or "
    "`confirm` with a "
    "note that says how they did it.",
    "list-in-use": "Campaigns that may still send, segments or sign-up forms use the list: `detail` counts "
    "them. End or "
    "change those first.",
    "address-in-use": "A source IP sends for one pool only. Remove it from the pool that `detail` names first.",
    "approval-needed": "The audience is so large that others have to approve the campaign: `detail` says what "
    "is missing. "
    "Let them look at it and POST /v1/campaigns/{id}/approve.",
    "personal-key-needed": "The audience is so large that two people have to approve, and a key of no user is no "
    "person. Approve with a personal key: POST /v1/api-keys with `user_id`.",
    "content-changed": "The campaign is not what you looked at. Read its approvals again, look at it, approve the new "
    "hash.",
    "unexpected-audience": "The audience is not as large as `expected_count` says. Nothing was done. Look at its "
    "definition, then send the count that you want.",
    "legal-checks": "The mail lacks what the law wants shown: `errors` names each place. Mend it, or launch with "
    "`override_legal_checks` and a key that has campaigns:override.",
    "unverified-domain": "The sending domain is not verified. Publish its DNS records and verify it.",
    "records-missing": "Not every DKIM record was found as shown. DNS takes a while: compare, wait, verify again.",
    "idempotency-in-flight": "The first request with this key is still being worked on. Wait for Retry-After.",
    "too-large": "The body is over the limit: 2 MiB, or 512 MiB for an import.",
    "unsupported-media-type": "The body is of a kind that this address does not take. Look at the reference.",
    "invalid-request": "The request does not have the documented form: `errors` names each place.",
    "invalid-address": "The address is none that every mail server reads alike: `errors` says why.",
    "invalid-attribute": "A value does not fit the definition of its attribute: `errors` says which, and why.",
    "unknown-stage": "The tenant has stages, and this is none of them: `errors` lists them.",
    "invalid-cursor": "Take the cursor from `next_cursor` of the page before, unchanged, for the same query.",
    "invalid-idempotency-key": "An Idempotency-Key has 1 to 200 printable characters.",
    "idempotency-key-reused": "This Idempotency-Key belongs to a different request. Make a new one for each intent.",
    "invalid-multipart": "The multipart body cannot be read, or has no file in it.",
    "empty-file": "The uploaded file has no bytes.",
    "invalid-mapping": "The mapping of columns cannot be used: `detail` says which column or target. See the preview.",
    "consent-required": "The tenant's policy wants evidence of consent for whoever is subscribed: `errors` "
    "names what to "
    "send (consent_basis, consent_source, and consented_at or a column of dates).",
    "invalid-columns": "The export has no such columns: `errors` names them and `detail` lists what there is.",
    "invalid-rules": "The rules are no segment, or name what is not there: `errors` has each place as a JSON pointer.",
    "segment-in-use": "Something uses the segment: `errors` names it. Change or delete that first.",
    "segment-missing": "A segment that is named is not there (any more). Read the audience or the rules again.",
    "segment-too-deep": "Segments name each other in a circle, too deep, or make too many rules in all: `detail` says "
    "which. Make fewer of them.",
    "segment-too-slow": "The rules take too long to be counted. Begin with a rule that few meet, name fewer "
    "campaigns, or "
    "use the segment as an audience, which is looked at in parts.",
    "foreign-domain": "The sender's domain is none of yours. Add it first.",
    "empty-audience": "Nobody is subscribed to the list. Import contacts, or choose another list.",
    "deadline-passed": "`send_by` is in the past: everything would expire. Move the deadline.",
    "invalid-template": "The template cannot be compiled: `errors` has each place with its line.",
    "merge-field-missing": "The template asks for a field that the sample values do not have.",
    "render-limit-exceeded": "The template takes more steps or room than a mail may have. Look for a loop.",
    "render-failed": "The template does something impossible with a value: `detail` says what.",
    "too-many-requests": "This API key is over its rate. Wait for Retry-After.",
    "too-many-uploads": "This tenant has its share of uploads under way. Wait for one to end.",
    "quota-exceeded": "The tenant has no more mails (or requests that send) left for this day, month or second: "
    "`detail` says which. Nothing was done. Wait for Retry-After, or ask your administrator.",
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
