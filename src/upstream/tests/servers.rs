//! Which of several servers is asked: who failed is left out and comes back, and a request that one failed goes to another.

use super::*;
use crate::{
    config::settings::Ejection,
    upstream::report::{AddressReport, reports},
};

const ANSWERS: &[&[Act]] = &[&[Act::Answer(OK); 64]];
const BREAKS: &[&[Act]] = &[&[Act::CloseUnanswered]];
const EJECTION: Option<Ejection> = Some(Ejection {
    after: 3,
    time: Duration::from_secs(10),
    longest: Duration::from_secs(60),
});

/// One upstream with its servers, asked by one worker.
struct Asked {
    upstreams: Upstreams,
    origin: Arc<Origin>,
}

impl Asked {
    fn new(settings: Upstream) -> Self {
        Self {
            upstreams: Upstreams::default(),
            origin: origin(settings),
        }
    }

    async fn get(&self) -> Result<Forwarded, ForwardError> {
        let answer = send(&self.upstreams, &self.origin, get()).await;
        turns().await;
        answer
    }

    async fn gets(&self, count: usize) {
        for _ in 0..count {
            assert_eq!(text(self.get().await.unwrap()).await, "ok");
            turns().await;
        }
    }

    /// The first address of each server, as the operator is told.
    fn addresses(&self) -> Vec<AddressReport> {
        let report = reports([&self.origin].into_iter()).swap_remove(0);
        let servers = report.servers.into_iter();
        servers.map(|mut server| server.addresses.swap_remove(0)).collect()
    }

    fn states(&self) -> Vec<&'static str> {
        self.addresses().iter().map(|address| address.state).collect()
    }
}

fn ejecting(ports: &[u16]) -> Upstream {
    Upstream {
        ejection: EJECTION,
        ..settings(ports)
    }
}

#[tokio::test(flavor = "local")]
async fn a_server_that_cannot_be_reached_is_ejected_and_costs_nobody_an_answer() {
    let good = RawOrigin::start(ANSWERS).await;
    let asked = Asked::new(ejecting(&[dead_port().await, good.port]));
    asked.gets(12).await;
    assert_eq!(asked.states(), ["ejected", "healthy"]);
    assert_eq!(good.heads().len(), 12);
    let report = reports([&asked.origin].into_iter()).swap_remove(0);
    let counts: Vec<_> = report
        .servers
        .iter()
        .map(|server| (server.failures, server.ejections))
        .collect();
    assert_eq!(counts, [(3, 1), (0, 0)]);
}

#[tokio::test(flavor = "local")]
async fn a_get_that_one_server_failed_is_answered_by_another() {
    let (bad, good) = (RawOrigin::start(BREAKS).await, RawOrigin::start(ANSWERS).await);
    let asked = Asked::new(settings(&[bad.port, good.port]));
    asked.gets(8).await;
    assert_eq!((bad.heads().len(), good.heads().len()), (4, 8));
    assert_eq!(reports([&asked.origin].into_iter())[0].retries, 4);
}

#[tokio::test(flavor = "local")]
async fn a_get_that_one_server_let_wait_is_answered_by_another() {
    let (silent, good) = (
        RawOrigin::start(&[&[Act::StaySilent]]).await,
        RawOrigin::start(ANSWERS).await,
    );
    let asked = Asked::new(Upstream {
        response_timeout: Duration::from_millis(20),
        ..settings(&[silent.port, good.port])
    });
    asked.gets(2).await;
    assert_eq!((silent.heads().len(), good.heads().len()), (1, 2));
}

#[tokio::test(flavor = "local")]
async fn a_post_that_one_server_failed_is_never_sent_to_another() {
    let (bad, good) = (RawOrigin::start(BREAKS).await, RawOrigin::start(ANSWERS).await);
    let asked = Asked::new(settings(&[bad.port, good.port]));
    let mut failed = 0;
    for _ in 0..4 {
        match send(&asked.upstreams, &asked.origin, post(whole("pay"))).await {
            Ok(forwarded) => assert_eq!(text(forwarded).await, "ok"),
            Err(error) => {
                assert!(matches!(error, ForwardError::Broken { .. }), "{error:?}");
                failed += 1;
            }
        }
        turns().await;
    }
    assert_eq!((failed, bad.heads().len(), good.heads().len()), (2, 2, 2));
}

#[tokio::test(flavor = "local")]
async fn a_post_that_could_not_be_sent_goes_to_another_server() {
    let good = RawOrigin::start(ANSWERS).await;
    let asked = Asked::new(settings(&[dead_port().await, good.port]));
    for _ in 0..2 {
        let answer = send(&asked.upstreams, &asked.origin, post(whole("pay"))).await;
        assert_eq!(text(answer.unwrap()).await, "ok");
    }
}

#[tokio::test(flavor = "local")]
async fn a_request_is_sent_again_no_more_often_than_allowed() {
    for (retries, sent) in [(0, 1), (1, 2), (2, 3), (9, 3)] {
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(RawOrigin::start(BREAKS).await);
        }
        let ports: Vec<_> = servers.iter().map(|server| server.port).collect();
        let asked = Asked::new(Upstream {
            retries,
            ..settings(&ports)
        });
        let failed = asked.get().await;
        assert!(matches!(failed, Err(ForwardError::Broken { .. })), "{failed:?}");
        let heads: Vec<_> = servers.iter().map(|server| server.heads().len()).collect();
        assert_eq!(heads.iter().sum::<usize>(), sent, "{retries} retries: {heads:?}");
        assert!(heads.iter().all(|heads| *heads <= 1), "no server twice: {heads:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn retries_end_with_the_budget() {
    let servers = [RawOrigin::start(BREAKS).await, RawOrigin::start(BREAKS).await];
    let asked = Asked::new(settings(&[servers[0].port, servers[1].port]));
    for _ in 0..20 {
        assert!(asked.get().await.is_err());
    }
    let report = reports([&asked.origin].into_iter()).swap_remove(0);
    assert_eq!((report.retries, report.retries_over_budget), (10, 10));
    let sent = servers.iter().map(|server| server.heads().len()).sum::<usize>();
    assert_eq!(sent, 30);
}

#[tokio::test(flavor = "local")]
async fn when_all_are_ejected_all_are_asked_and_an_answer_brings_back_who_gave_it() {
    const RECOVERS: &[&[Act]] = &[
        &[Act::CloseUnanswered],
        &[Act::CloseUnanswered],
        &[Act::CloseUnanswered],
        &[Act::Answer(OK); 8],
    ];
    let (bad, recovering) = (RawOrigin::start(BREAKS).await, RawOrigin::start(RECOVERS).await);
    let asked = Asked::new(Upstream {
        retries: 0,
        ..ejecting(&[bad.port, recovering.port])
    });
    for _ in 0..6 {
        assert!(asked.get().await.is_err());
    }
    assert_eq!(asked.states(), ["ejected", "ejected"]);
    // Both are asked in turn: one of two gets the answer.
    let answers = [asked.get().await.is_ok(), asked.get().await.is_ok()];
    assert!(answers.contains(&true), "{answers:?}");
    assert_eq!(asked.states(), ["ejected", "healthy"]);
    asked.gets(4).await;
}

#[tokio::test(flavor = "local")]
async fn the_only_server_is_never_ejected() {
    let bad = RawOrigin::start(BREAKS).await;
    let asked = Asked::new(ejecting(&[bad.port]));
    for _ in 0..5 {
        assert!(asked.get().await.is_err());
    }
    let address = asked.addresses().swap_remove(0);
    assert_eq!((address.state, address.failures_in_row), ("healthy", 5));
}

#[tokio::test(flavor = "local")]
async fn a_status_is_an_answer_and_ejects_nobody() {
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let busy = RawOrigin::start(&[&[Act::Answer(BUSY); 8]]).await;
    let asked = Asked::new(ejecting(&[busy.port, dead_port().await]));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        match asked.get().await.unwrap().answer {
            Answer::Response(response) => statuses.push(response.status().as_u16()),
            Answer::Switched { .. } => panic!("switched"),
        }
    }
    assert_eq!(statuses, [503; 4]);
    assert_eq!(asked.addresses()[0].failures_in_row, 0);
}

#[tokio::test(flavor = "local")]
async fn what_is_known_of_a_server_outlives_a_change_of_its_upstream() {
    let good = RawOrigin::start(ANSWERS).await;
    let dead = dead_port().await;
    let mut asked = Asked::new(ejecting(&[dead, good.port]));
    asked.gets(8).await;
    assert_eq!(asked.states(), ["ejected", "healthy"]);
    let changed = Upstream {
        retries: 2,
        ..ejecting(&[good.port, dead])
    };
    asked.origin = Arc::new(Origin::load(Arc::new(changed)).unwrap().after(&asked.origin));
    asked.upstreams.retain([&asked.origin].into_iter());
    assert_eq!(asked.states(), ["healthy", "ejected"]);
    asked.gets(8).await;
    assert_eq!(
        (good.connections(), good.heads().len()),
        (1, 16),
        "its connection is kept"
    );
    assert_eq!(reports([&asked.origin].into_iter())[0].servers[0].requests, 16);
}

#[tokio::test(flavor = "local")]
async fn all_workers_see_who_is_ejected() {
    let good = RawOrigin::start(ANSWERS).await;
    let asked = Asked::new(ejecting(&[dead_port().await, good.port]));
    asked.gets(8).await;
    let origin = Arc::clone(&asked.origin);
    let port = good.port;
    // Another worker is another thread with connections of its own.
    let seen = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let upstreams = Upstreams::default();
            for _ in 0..4 {
                let answer = send(&upstreams, &origin, get()).await.unwrap();
                assert!(answer.server.as_str().ends_with(&format!(":{port}")));
                text(answer).await;
            }
            reports([&origin].into_iter()).swap_remove(0)
        })
    });
    let report = seen.await.unwrap();
    assert_eq!(report.servers[0].failures, 3, "nobody asked it again");
    assert_eq!(report.servers[1].requests, 12);
}

#[tokio::test(flavor = "local")]
async fn who_has_fewer_requests_under_way_is_asked() {
    let (slow, quick) = (
        RawOrigin::start(&[&[Act::StaySilent]]).await,
        RawOrigin::start(ANSWERS).await,
    );
    let asked = Asked::new(Upstream {
        balance: Balance::LeastConnections,
        retries: 0,
        ..settings(&[slow.port, quick.port])
    });
    // One request hangs, on whichever is first; from then on only the other is asked.
    let mut hanging = Box::pin(send(&asked.upstreams, &asked.origin, get()));
    let mut answered = 0;
    while slow.heads().is_empty() {
        tokio::select! {
            biased;
            answer = &mut hanging => {
                assert_eq!(text(answer.unwrap()).await, "ok");
                answered += 1;
                hanging = Box::pin(send(&asked.upstreams, &asked.origin, get()));
            }
            () = tokio::task::yield_now() => {}
        }
    }
    asked.gets(10).await;
    assert_eq!((slow.heads().len(), quick.heads().len()), (1, 10 + answered));
    assert_eq!(asked.addresses()[0].in_flight, 1);
    drop(hanging);
    assert_eq!(asked.addresses()[0].in_flight, 0);
}

#[tokio::test(flavor = "local")]
async fn who_comes_back_gets_more_and_more() {
    let (first, second) = (RawOrigin::start(ANSWERS).await, RawOrigin::start(ANSWERS).await);
    let asked = Asked::new(Upstream {
        slow_start: Some(Duration::from_secs(100)),
        ..ejecting(&[first.port, second.port])
    });
    let rotation = asked.upstreams.rotation(&asked.origin);
    let members = rotation.current();
    let at = members
        .iter()
        .position(|member| member.endpoint.as_str().ends_with(&format!(":{}", first.port)));
    let at = at.unwrap();
    let ejected = tokio::time::Instant::now();
    for _ in 0..3 {
        members[at].health.failed(ejected, EJECTION);
    }
    // It is out for ten seconds, and then takes a hundred to get its whole share.
    let mut shares = Vec::new();
    for seconds in [5, 10, 35, 60, 110] {
        let now = ejected + Duration::from_secs(seconds);
        let chosen = (0..200).filter_map(|_| rotation.choose(&members, &[], now));
        shares.push(chosen.filter(|chosen| chosen.at == at).count());
    }
    assert_eq!(shares[0], 0, "{shares:?}");
    assert!(shares.is_sorted() && shares[1] < 5, "{shares:?}");
    assert!(
        (38..=42).contains(&shares[2]),
        "a quarter against a whole is a fifth: {shares:?}"
    );
    assert!(
        (65..=68).contains(&shares[3]),
        "a half against a whole is a third: {shares:?}"
    );
    assert_eq!(shares[4], 100);
}

mod names {
    use super::*;
    use crate::upstream::{resolve::Name, rotation::Rotation};

    /// An upstream with one server by name, which leads to whatever `tell` says.
    fn named(port: u16) -> (Asked, Rc<Rotation>, Rc<Name>) {
        let mut settings = ejecting(&[]);
        settings.servers = vec![Server::Http {
            host: "app.invalid".to_owned(),
            port,
        }];
        let asked = Asked::new(settings);
        let rotation = asked.upstreams.rotation(&asked.origin);
        let name = rotation.name().unwrap();
        (asked, rotation, name)
    }

    fn local(last: u8, port: u16) -> std::net::SocketAddr {
        std::net::SocketAddr::from(([127, 0, 0, last], port))
    }

    #[tokio::test(flavor = "local")]
    async fn each_address_of_a_name_is_a_server() {
        let (first, second) = (RawOrigin::start(ANSWERS).await, RawOrigin::start(ANSWERS).await);
        let (asked, _, name) = named(80);
        name.tell(&[local(1, first.port), local(1, second.port)]);
        asked.gets(6).await;
        assert_eq!((first.heads().len(), second.heads().len()), (3, 3));
        let report = reports([&asked.origin].into_iter()).swap_remove(0);
        assert_eq!(report.servers[0].addresses.len(), 2);
        assert_eq!(report.servers[0].requests, 6);
    }

    #[tokio::test(flavor = "local")]
    async fn a_failing_address_is_ejected_and_the_others_serve() {
        let good = RawOrigin::start(ANSWERS).await;
        let (asked, _, name) = named(80);
        let dead = local(1, dead_port().await);
        name.tell(&[dead, local(1, good.port)]);
        asked.gets(8).await;
        let report = reports([&asked.origin].into_iter()).swap_remove(0);
        let mut states: Vec<_> = report.servers[0]
            .addresses
            .iter()
            .map(|address| (address.address.clone().unwrap(), address.state))
            .collect();
        states.sort_by_key(|(_, state)| *state);
        assert_eq!(
            states,
            [
                (dead.to_string(), "ejected"),
                (local(1, good.port).to_string(), "healthy")
            ]
        );
    }

    #[tokio::test(flavor = "local")]
    async fn an_address_that_is_gone_takes_its_idle_connections_with_it() {
        let (old, new) = (RawOrigin::start(ANSWERS).await, RawOrigin::start(ANSWERS).await);
        let (asked, rotation, name) = named(80);
        name.tell(&[local(1, old.port)]);
        asked.gets(1).await;
        let pool = Rc::downgrade(rotation.current()[0].pool.as_ref().unwrap());
        assert!(pool.upgrade().is_some_and(|pool| pool.has_idle()));
        name.tell(&[local(1, new.port)]);
        asked.gets(2).await;
        assert!(pool.upgrade().is_none(), "nobody holds the old connections");
        assert_eq!((old.heads().len(), new.heads().len()), (1, 2));
    }

    #[tokio::test(flavor = "local")]
    async fn a_request_under_way_ends_on_an_address_that_is_gone() {
        const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no";
        const REST: &[&[Act]] = &[&[Act::Answer(HALF), Act::StaySilent]];
        let (old, new) = (RawOrigin::start(REST).await, RawOrigin::start(ANSWERS).await);
        let (asked, rotation, name) = named(80);
        name.tell(&[local(1, old.port)]);
        let under_way = asked.get().await.unwrap();
        name.tell(&[local(1, new.port)]);
        asked.gets(1).await;
        assert_eq!(rotation.current().len(), 1);
        let Answer::Response(response) = under_way.answer else {
            panic!("switched")
        };
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "o");
    }

    #[tokio::test(flavor = "local")]
    async fn an_old_answer_is_asked_for_again() {
        let server = RawOrigin::start(ANSWERS).await;
        let mut settings = settings(&[]);
        settings.servers = vec![Server::Http {
            host: "localhost".to_owned(),
            port: server.port,
        }];
        let asked = Asked::new(settings);
        let name = asked.upstreams.rotation(&asked.origin).name().unwrap();
        let gone = local(9, 1);
        name.tell_of_long_ago(&[gone]);
        // A request waits a moment only for the system's answer; one of the next has it.
        while asked.get().await.is_err() {
            assert!(server.heads().is_empty());
        }
        assert!(!name.known().contains(&gone));
        assert_eq!(server.heads().len(), 1);
    }

    #[tokio::test(flavor = "local")]
    async fn a_look_up_that_hangs_keeps_a_request_no_longer_than_connecting_may_take() {
        let (mut asked, _, _) = named(80);
        let settings = Upstream {
            connect_timeout: Duration::from_millis(20),
            ..(**asked.origin.settings()).clone()
        };
        asked.origin = origin(settings);
        asked.upstreams.rotation(&asked.origin).name().unwrap().hang();
        let failed = asked.get().await;
        assert!(
            matches!(
                failed,
                Err(ForwardError::Connect {
                    source: error::ConnectError::Timeout,
                    ..
                })
            ),
            "{failed:?}"
        );
    }
}
