use http::StatusCode;

use super::*;
use crate::policy::{
    phases::Laps,
    rule::{Phase, Tier},
};

const WORKER: fn(usize) -> WorkerIndex = WorkerIndex::new;

fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
    let text = metrics.render();
    text.lines()
        .filter(|line| line.starts_with(name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_reload_resets_no_counter() {
    let metrics = Metrics::new(2);
    let before = metrics.meters(["main"], ["a", "b"], []);
    let site = before.site(0).expect("it is there");
    site.ended(WORKER(0), RequestDecision::Block, Some(StatusCode::FORBIDDEN));
    let after = metrics.meters(["main"], ["a"], []);
    drop(before);
    metrics.publish(Loaded::default());
    let site = after.site(0).expect("it is there");
    site.ended(WORKER(1), RequestDecision::Block, Some(StatusCode::FORBIDDEN));
    assert_eq!(
        lines(&metrics, "portcullis_requests_total"),
        [r#"portcullis_requests_total{decision="block",code_class="4xx",site="main"} 2"#]
    );
    assert_eq!(
        lines(&metrics, "portcullis_rule_hits_total"),
        [r#"portcullis_rule_hits_total{rule="a"} 0"#]
    );
}

#[test]
fn names_are_kept_while_an_old_snapshot_counts_with_them() {
    let metrics = Metrics::new(1);
    let before = metrics.meters([], ["gone"], []);
    metrics.publish(Loaded::default());
    assert_eq!(lines(&metrics, "portcullis_rule_hits_total").len(), 1);
    drop(before);
    metrics.publish(Loaded::default());
    assert_eq!(lines(&metrics, "portcullis_rule_hits_total").len(), 0);
}

#[test]
fn reloads_are_counted_and_a_failed_one_shows() {
    let metrics = Metrics::new(1);
    metrics.started(Timestamp(100));
    metrics.reloaded(ReloadResult::Success, Timestamp(200));
    metrics.reloaded(ReloadResult::Failure, Timestamp(300));
    metrics.restart_required(true);
    metrics.waits_for_confirmation(true);
    metrics.returned(ReturnCause::Guard);
    assert_eq!(
        lines(&metrics, "portcullis_config_"),
        [
            r#"portcullis_config_reloads_total{result="failure"} 1"#,
            r#"portcullis_config_reloads_total{result="success"} 1"#,
            "portcullis_config_last_reload_successful 0",
            "portcullis_config_last_reload_success_timestamp_seconds 200",
            "portcullis_config_restart_required 1",
            "portcullis_config_unconfirmed 1",
            r#"portcullis_config_returns_total{cause="not_confirmed"} 0"#,
            r#"portcullis_config_returns_total{cause="guard"} 1"#,
            "portcullis_config_generation 0",
        ]
    );
}

#[test]
fn what_a_load_says_of_itself_is_shown() {
    let metrics = Metrics::new(1);
    metrics.publish(Loaded {
        generation: 7,
        lists: vec![("partners".to_owned(), 12)],
        expiries: vec![("old".to_owned(), Timestamp(5))],
        geo: vec![("country".to_owned(), Timestamp(6))],
        certificates: vec![("main".to_owned(), Timestamp(9)), ("main".to_owned(), Timestamp(8))],
    });
    for (name, expected) in [
        ("portcullis_config_generation", "portcullis_config_generation 7"),
        (
            "portcullis_list_entries",
            r#"portcullis_list_entries{list="partners"} 12"#,
        ),
        (
            "portcullis_rule_expiry",
            r#"portcullis_rule_expiry_timestamp_seconds{rule="old"} 5"#,
        ),
        (
            "portcullis_geoip_build",
            r#"portcullis_geoip_build_timestamp_seconds{source="country"} 6"#,
        ),
        (
            "portcullis_tls_cert",
            r#"portcullis_tls_cert_not_after_timestamp_seconds{certificate="main"} 8"#,
        ),
    ] {
        assert_eq!(lines(&metrics, name), [expected]);
    }
}

#[test]
fn upstream_connections_are_counted_while_they_are_open() {
    let metrics = Metrics::new(2);
    let meters = metrics.meters([], [], ["app"]);
    let upstream = meters.upstream("app").expect("it was asked for");
    let first = upstream.connected(WORKER(0));
    let _second = upstream.connected(WORKER(1));
    assert_eq!(upstream.connections(), 2);
    drop(first);
    assert_eq!(
        lines(&metrics, "portcullis_upstream_connections"),
        [r#"portcullis_upstream_connections{upstream="app"} 1"#]
    );
    upstream.failed(WORKER(0), UpstreamFailure::ConnectTimeout);
    let failures = lines(
        &metrics,
        r#"portcullis_upstream_failures_total{upstream="app",reason="connect_timeout"}"#,
    );
    assert_eq!(
        failures,
        [r#"portcullis_upstream_failures_total{upstream="app",reason="connect_timeout"} 1"#]
    );
}

#[test]
fn tunnels_are_not_counted_as_http_connections() {
    let metrics = Arc::new(Metrics::new(1));
    metrics.ask_connections(|| ConnectionFigures {
        open: 5,
        over_limit: 2,
        ..ConnectionFigures::default()
    });
    let _tunnel = metrics.tunnel(WORKER(0));
    assert_eq!(
        lines(&metrics, "portcullis_connections{"),
        [
            r#"portcullis_connections{state="http"} 4"#,
            r#"portcullis_connections{state="tunnel"} 1"#
        ]
    );
    assert_eq!(
        lines(&metrics, r#"portcullis_connections_refused_total{cause="limit"}"#).len(),
        1
    );
}

#[test]
fn the_tiers_of_a_phase_are_one_lap_and_phases_not_reached_are_none() {
    let metrics = Metrics::new(1);
    let mut times = PhaseTimes::start();
    for phase in [
        Phase::IpAccess(Tier::Address),
        Phase::IpAccess(Tier::Asn),
        Phase::IpAccess(Tier::Place),
        Phase::Rule,
    ] {
        times.phase_ended(phase);
    }
    metrics.phases_took(WorkerIndex::new(0), &times);
    let shown = metrics.render();
    for (phase, count) in [("ip_access", 1), ("rule", 1), ("lockdown", 0)] {
        let sample = format!("portcullis_phase_duration_seconds_count{{phase=\"{phase}\"}} {count}\n");
        assert!(shown.contains(&sample), "{sample}{shown}");
    }
}

#[test]
fn servers_are_shown_with_what_is_known_of_them() {
    let metrics = Metrics::new(1);
    metrics.ask_upstreams(|| {
        vec![UpstreamFigures {
            upstream: "app".to_owned(),
            retries: 3,
            retries_over_budget: 1,
            servers: vec![ServerFigures {
                server: "http://a:80".to_owned(),
                states: [("healthy", 1), ("starting", 0), ("ejected", 2), ("failing_check", 0)],
                in_flight: 4,
                requests: 50,
                failures: 6,
                ejections: 2,
                checks_passed: 7,
                checks_failed: 8,
            }],
        }]
    });
    let mut shown = lines(&metrics, "portcullis_upstream_retries_total");
    shown.extend(lines(&metrics, "portcullis_upstream_server_"));
    assert_eq!(
        shown,
        [
            r#"portcullis_upstream_retries_total{upstream="app",result="sent"} 3"#,
            r#"portcullis_upstream_retries_total{upstream="app",result="over_budget"} 1"#,
            r#"portcullis_upstream_server_addresses{upstream="app",server="http://a:80",state="healthy"} 1"#,
            r#"portcullis_upstream_server_addresses{upstream="app",server="http://a:80",state="starting"} 0"#,
            r#"portcullis_upstream_server_addresses{upstream="app",server="http://a:80",state="ejected"} 2"#,
            r#"portcullis_upstream_server_addresses{upstream="app",server="http://a:80",state="failing_check"} 0"#,
            r#"portcullis_upstream_server_requests_in_flight{upstream="app",server="http://a:80"} 4"#,
            r#"portcullis_upstream_server_requests_total{upstream="app",server="http://a:80"} 50"#,
            r#"portcullis_upstream_server_failures_total{upstream="app",server="http://a:80"} 6"#,
            r#"portcullis_upstream_server_ejections_total{upstream="app",server="http://a:80"} 2"#,
            r#"portcullis_upstream_server_checks_total{upstream="app",server="http://a:80",result="passed"} 7"#,
            r#"portcullis_upstream_server_checks_total{upstream="app",server="http://a:80",result="failed"} 8"#,
        ]
    );
}
