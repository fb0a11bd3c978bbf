"""Every metric of Hayabin, by name. Hot counters are prometheus-client's (0.8 µs), not OpenTelemetry's (10 µs).

Promises: ids are never labels; providers outside our list are ``other``; names start with ``hayabin_``.
"""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)

# --- belt
PARKED = Counter("hayabin_parked_messages", "Belt messages parked, by queue and reason", ["queue", "reason"])
REQUEUED = Counter("hayabin_requeued_messages", "Belt messages put back after a temporary failure", ["queue", "reason"])
PUBLISH_SECONDS = Histogram("hayabin_publish_seconds", "Time to a publisher confirm of a window", buckets=_SECONDS)
OUTBOX_RELAYED = Counter("hayabin_outbox_relayed", "Outbox rows published and confirmed")
OUTBOX_AGE_SECONDS = Gauge("hayabin_outbox_age_seconds", "Age of the oldest outbox row")

# --- scheduler
FED = Counter("hayabin_fed_messages", "Ledger rows put on the belt, by why", ["why"])
FEEDER_LAST_TICK = Gauge("hayabin_feeder_last_tick_timestamp_seconds", "When the feeder last looked (Unix time)")
BELT_DEPTH = Gauge("hayabin_belt_depth", "Ready messages of a queue, as the feeder saw them", ["queue"])
HELD = Gauge("hayabin_installation_held", "1 while nothing is sent because a person must decide")
BELTS_EMPTIED = Counter("hayabin_belts_emptied", "Times that the belt was found emptied; what was on it was fed again")
LOST_CLAIMS = Counter("hayabin_lost_claims", "Claims whose owner is gone; the rows became unknown")

# --- renderer
RENDERED = Counter("hayabin_rendered_messages", "Mails rendered and signed")
RENDER_FAILED = Counter(
    "hayabin_render_failed_messages", "Recipients whose mail could not be made, by reason", ["reason"]
)
RENDER_SECONDS = Histogram("hayabin_render_seconds", "Time to render one chunk", buckets=_SECONDS)

# --- dispatcher
GATE_ROWS = Counter("hayabin_gate_rows", "Rows at the gate, by verdict", ["verdict"])
GATE_SECONDS = Histogram("hayabin_gate_seconds", "Time of one gate statement", buckets=_SECONDS)
OUTCOMES = Counter("hayabin_outcomes", "Outcomes written, by state and provider", ["state", "provider"])
OUTCOME_SECONDS = Histogram("hayabin_outcome_seconds", "Time of one outcome transaction", buckets=_SECONDS)
SMTP_SECONDS = Histogram(
    "hayabin_smtp_transaction_seconds", "Time of one SMTP transaction", ["provider"], buckets=_SECONDS
)
SMTP_CONNECTIONS = Gauge("hayabin_smtp_connections", "Open SMTP connections", ["provider"])
LANE_POSTPONED = Counter("hayabin_lane_postponed_messages", "Rows given back unattempted, by reason", ["reason"])
REPLY_RULES = Counter("hayabin_reply_rules", "Replies that a rule of the policy matched", ["provider", "rule"])
SOURCE_IPS = Gauge("hayabin_source_ips", "Source IPs that this dispatcher is to use, by state", ["state"])
TAKEN_OVER = Gauge("hayabin_taken_over_messages", "Mails in hand for slow destinations, apart from their batches")
TLS_SESSIONS = Counter("hayabin_tls_sessions", "Connections by what TLS came to", ["provider", "policy", "result"])

# --- tracker
ENGAGEMENTS = Counter("hayabin_tracker_events", "Opens, clicks and unsubscribes taken", ["kind"])
EVENTS_LOST = Counter("hayabin_tracker_events_lost", "Events answered while the belt could not take them", ["kind"])
EVENTS_WAITING = Gauge("hayabin_tracker_events_waiting", "Events that the belt has not confirmed yet")

# --- bounce
INBOUND = Counter("hayabin_bounce_inbound", "Inbound mails by what they turned out to be", ["kind"])
INBOUND_REFUSED = Counter("hayabin_bounce_refused", "What the inbound SMTP server turned away, by reason", ["reason"])
QUARANTINED = Counter("hayabin_bounce_quarantined", "Inbound mails that changed nothing, by reason", ["reason"])

# --- api
HTTP_REQUESTS = Counter("hayabin_http_requests", "Requests by route, method and status", ["route", "method", "status"])
HTTP_SECONDS = Histogram("hayabin_http_request_seconds", "Time of a request by route", ["route"], buckets=_SECONDS)
