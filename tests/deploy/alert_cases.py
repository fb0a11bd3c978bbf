"""Series that show the trouble of each alert, and series that show none."""

from dataclasses import dataclass

NOW_MINUTE = 90
"""Series have a sample each minute; alerts are looked at in this one. Unix time starts at 0, so it is second 5400."""


@dataclass(frozen=True)
class Case:
    """Series (as promtool writes them) that must, and that must not, make an alert fire."""

    alert: str
    trouble: dict[str, str]
    quiet: dict[str, str]


def born(late: int, value: int) -> str:
    """A series that appears after ``late`` minutes with that value and stays."""
    return f"_x{late} {value}x{NOW_MINUTE}"


RATE_60 = "0+60x100"  # one a second
STEADY = "7x100"
CLOCK = "0+60x100"  # a timestamp that is always now
STOPPED = "0+60x50 3000x50"  # a timestamp that stopped at minute 50

CASES = [
    Case(
        "messages-parked",
        {'hayabin_parked_messages_total{queue="q",reason="r"}': born(85, 1)},
        {'hayabin_parked_messages_total{queue="q",reason="r"}': STEADY},
    ),
    Case("messages-parked", {'hayabin_parked_messages_total{queue="q",reason="r"}': "2x85 3x20"}, {}),
    Case(
        "messages-unknown",
        {'hayabin_outcomes_total{state="unknown",provider="gmail"}': born(85, 1)},
        {'hayabin_outcomes_total{state="accepted",provider="gmail"}': RATE_60, "hayabin_lost_claims_total": STEADY},
    ),
    Case("messages-unknown", {"hayabin_lost_claims_total": "0x85 4x20"}, {}),
    Case("outbox-stuck", {"hayabin_outbox_age_seconds": "0x80 70+60x20"}, {"hayabin_outbox_age_seconds": "2x100"}),
    Case(
        "installation-held",
        {
            'hayabin_installation_held{instance="s1"}': "0x89 1x10",
            'hayabin_installation_held{instance="api"}': "0x100",  # every process exports it
        },
        {"hayabin_installation_held": "1x80 0x20"},
    ),
    Case("belt-emptied", {"hayabin_belts_emptied_total": "0x85 1x20"}, {"hayabin_belts_emptied_total": STEADY}),
    Case("belt-emptied", {'hayabin_belts_emptied_total{instance="new"}': born(88, 1)}, {}),
    Case("belt-emptied", {}, {'hayabin_belts_emptied_total{instance="new"}': born(88, 0)}),
    *(
        Case(
            "belt-blocked",
            {f'{alarm}{{instance="r1"}}': "0x80 1x20", f'{alarm}{{instance="r2"}}': "0x100"},
            {f'{alarm}{{instance="r1"}}': "1x80 0x20"},
        )
        for alarm in ("rabbitmq_alarms_memory_used_watermark", "rabbitmq_alarms_free_disk_space_watermark")
    ),
    Case(
        "scheduler-silent",
        {
            'up{job="hayabin",app_kubernetes_io_component="scheduler",instance="s1"}': "1x80 0x20",
            'up{job="hayabin",app_kubernetes_io_component="api",instance="a1"}': "1x100",
        },
        {
            'up{job="hayabin",app_kubernetes_io_component="scheduler",instance="s1"}': "1x80 0x20",
            'up{job="hayabin",app_kubernetes_io_component="scheduler",instance="s2"}': "1x100",
        },
    ),
    Case("scheduler-silent", {'up{job="hayabin",app_kubernetes_io_component="api"}': "1x100"}, {}),
    Case(
        "database-full",
        {
            'kubelet_volume_stats_available_bytes{persistentvolumeclaim="data-postgres-0"}': "50x70 9x30",
            'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="data-postgres-0"}': "100x100",
        },
        {
            'kubelet_volume_stats_available_bytes{persistentvolumeclaim="data-postgres-0"}': "50x100",
            'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="data-postgres-0"}': "100x100",
            'kubelet_volume_stats_available_bytes{persistentvolumeclaim="data-upgrades-0"}': "9x100",
            'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="data-upgrades-0"}': "100x100",
        },
    ),
    Case(
        "feeder-silent",
        {"hayabin_feeder_last_tick_timestamp_seconds": STOPPED},
        {
            "hayabin_feeder_last_tick_timestamp_seconds": CLOCK,
            'hayabin_feeder_last_tick_timestamp_seconds{instance="standby"}': "0x100",
        },
    ),
    Case("feeder-silent", {"up": "1x100"}, {"hayabin_feeder_last_tick_timestamp_seconds": CLOCK}),
    Case(
        "sending-stalled",
        {
            'hayabin_belt_depth{queue="dispatch.a.gmail",instance="s1"}': "50x100",
            'hayabin_feeder_last_tick_timestamp_seconds{instance="s1"}': CLOCK,
            'hayabin_outcomes_total{state="accepted",provider="gmail"}': STEADY,
        },
        {
            'hayabin_belt_depth{queue="dispatch.a.gmail",instance="s1"}': "50x100",
            'hayabin_feeder_last_tick_timestamp_seconds{instance="s1"}': CLOCK,
            'hayabin_outcomes_total{state="accepted",provider="gmail"}': RATE_60,
        },
    ),
    Case(
        "sending-stalled",
        {
            'hayabin_belt_depth{queue="dispatch.a.gmail",instance="s1"}': "50x100",
            'hayabin_feeder_last_tick_timestamp_seconds{instance="s1"}': CLOCK,
        },
        {
            'hayabin_belt_depth{queue="dispatch.a.gmail",instance="s1"}': "50x100",
            'hayabin_feeder_last_tick_timestamp_seconds{instance="s1"}': STOPPED,
        },
    ),
    Case(
        "lanes-postponing",
        {'hayabin_lane_postponed_messages_total{reason="suspended"}': RATE_60},
        {
            'hayabin_lane_postponed_messages_total{reason="suspended"}': "0+6x100",
            'hayabin_outcomes_total{state="accepted",provider="gmail"}': RATE_60,
        },
    ),
    Case(
        "lanes-postponing",
        {'hayabin_lane_postponed_messages_total{reason="capped"}': RATE_60},
        {'hayabin_lane_postponed_messages_total{reason="quiet"}': RATE_60},
    ),
    Case(
        "lane-suspended",
        {'hayabin_reply_rules_total{provider="microsoft",rule="microsoft-on-block-list"}': born(85, 3)},
        {
            'hayabin_reply_rules_total{provider="microsoft",rule="microsoft-on-block-list"}': STEADY,
            'hayabin_reply_rules_total{provider="gmail",rule="greylisted"}': RATE_60,
            'hayabin_reply_rules_total{provider="docomo",rule="docomo-limited"}': born(85, 3),
        },
    ),
    Case(
        "lane-suspended",
        {'hayabin_reply_rules_total{provider="default",rule="a-rule-of-our-own"}': "2x85 3x20"},
        {},
    ),
    Case(
        "tls-failures",
        {
            'hayabin_tls_sessions_total{provider="other",policy="dane",result="failed-tlsa-mismatch"}': "0+6x100",
            'hayabin_tls_sessions_total{provider="other",policy="dane",result="verified-dane"}': "0+12x100",
        },
        {
            'hayabin_tls_sessions_total{provider="other",policy="dane",result="failed-tlsa-mismatch"}': "0+1x100",
            'hayabin_tls_sessions_total{provider="other",policy="dane",result="verified-dane"}': RATE_60,
            'hayabin_tls_sessions_total{provider="gmail",policy="mta-sts-testing",result="failed-handshake"}': RATE_60,
            'hayabin_tls_sessions_total{provider="au",policy="opportunistic",result="failed-handshake"}': RATE_60,
        },
    ),
    Case(
        "source-ip-unavailable",
        {
            'kube_statefulset_replicas{namespace="mail",statefulset="hb-hayabin-pool-main"}': "2x100",
            'kube_statefulset_status_replicas_ready{namespace="mail",statefulset="hb-hayabin-pool-main"}': "2x70 1x30",
            'up{job="hayabin",namespace="mail",instance="a"}': "1x100",
        },
        {
            'kube_statefulset_replicas{namespace="mail",statefulset="hb-hayabin-pool-main"}': "2x100",
            'kube_statefulset_status_replicas_ready{namespace="mail",statefulset="hb-hayabin-pool-main"}': "2x85 1x15",
            'up{job="hayabin",namespace="mail",instance="a"}': "1x100",
            'kube_statefulset_replicas{namespace="data",statefulset="hb-pool-of-somebody"}': "2x100",
            'kube_statefulset_status_replicas_ready{namespace="data",statefulset="hb-pool-of-somebody"}': "0x100",
        },
    ),
    Case(
        "taken-over-near-bound",
        {'hayabin_taken_over_messages{hayabin_pool="main",instance="a"}': "100x60 1900x40"},
        {
            'hayabin_taken_over_messages{hayabin_pool="main",instance="a"}': "1500x100",
            'hayabin_taken_over_messages{hayabin_pool="main",instance="b"}': "100x85 1900x15",
        },
    ),
    Case(
        "provider-deferring",
        {
            'hayabin_outcomes_total{state="deferred",provider="gmail"}': RATE_60,
            'hayabin_outcomes_total{state="accepted",provider="gmail"}': "0+6x100",
        },
        {
            'hayabin_outcomes_total{state="deferred",provider="gmail"}': "0+1x100",
            'hayabin_outcomes_total{state="accepted",provider="au"}': RATE_60,
        },
    ),
    Case(
        "bounces-high",
        {
            'hayabin_outcomes_total{state="bounced",provider="gmail"}': "0+6x100",
            'hayabin_outcomes_total{state="accepted",provider="gmail"}': RATE_60,
        },
        {
            'hayabin_outcomes_total{state="bounced",provider="gmail"}': "0+2x100",
            'hayabin_outcomes_total{state="accepted",provider="gmail"}': RATE_60,
            'hayabin_outcomes_total{state="bounced",provider="au"}': "0+1x100",
        },
    ),
    Case(
        "complaints-high",
        {
            'hayabin_bounce_inbound_total{kind="complaint"}': "0+1x100",
            'hayabin_outcomes_total{state="accepted",provider="gmail"}': RATE_60,
        },
        {
            'hayabin_bounce_inbound_total{kind="complaint"}': "0+1x100",
            'hayabin_outcomes_total{state="accepted",provider="gmail"}': "0+600x100",
        },
    ),
    Case(
        "requeue-storm",
        {'hayabin_requeued_messages_total{queue="q",reason="r"}': "0+120x100"},
        {'hayabin_requeued_messages_total{queue="q",reason="r"}': "0+6x100"},
    ),
    Case(
        "render-failures",
        {'hayabin_render_failed_messages_total{reason="r"}': "0+6x100", "hayabin_rendered_messages_total": RATE_60},
        {'hayabin_render_failed_messages_total{reason="r"}': "0+1x100", "hayabin_rendered_messages_total": RATE_60},
    ),
    Case(
        "tracker-events-lost",
        {'hayabin_tracker_events_lost_total{kind="click"}': born(88, 3)},
        {'hayabin_tracker_events_lost_total{kind="click"}': STEADY},
    ),
    Case(
        "bounce-mail-quarantined",
        {
            'hayabin_bounce_quarantined_total{reason="forged"}': "0+30x100",
            'hayabin_bounce_inbound_total{kind="dsn"}': RATE_60,
        },
        {
            'hayabin_bounce_quarantined_total{reason="forged"}': "0+6x100",
            'hayabin_bounce_inbound_total{kind="dsn"}': RATE_60,
        },
    ),
    Case(
        "process-down",
        {'up{job="hayabin",instance="a"}': "1x80 0x20"},
        {'up{job="hayabin",instance="a"}': "1x100", 'up{job="other"}': "0x100"},
    ),
    Case(
        "gate-slow",
        {
            'hayabin_gate_seconds_bucket{le="0.5"}': "0+30x100",
            'hayabin_gate_seconds_bucket{le="1"}': RATE_60,
            'hayabin_gate_seconds_bucket{le="+Inf"}': RATE_60,
        },
        {'hayabin_gate_seconds_bucket{le="0.1"}': RATE_60, 'hayabin_gate_seconds_bucket{le="+Inf"}': RATE_60},
    ),
    Case(
        "confirms-slow",
        {
            'hayabin_publish_seconds_bucket{le="5"}': "0+30x100",
            'hayabin_publish_seconds_bucket{le="10"}': RATE_60,
            'hayabin_publish_seconds_bucket{le="+Inf"}': RATE_60,
        },
        {'hayabin_publish_seconds_bucket{le="1"}': RATE_60, 'hayabin_publish_seconds_bucket{le="+Inf"}': RATE_60},
    ),
    Case(
        "api-errors",
        {
            'hayabin_http_requests_total{route="/v1/contacts",method="GET",status="503"}': "0+6x100",
            'hayabin_http_requests_total{route="/v1/contacts",method="GET",status="200"}': RATE_60,
        },
        {
            'hayabin_http_requests_total{route="/v1/contacts",method="GET",status="404"}': RATE_60,
            'hayabin_http_requests_total{route="/v1/contacts",method="GET",status="200"}': RATE_60,
        },
    ),
]
