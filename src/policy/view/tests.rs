//! What is foreseen holds for whatever the unknown facts turn out to be: tried by making them up.

use fastrand::Rng;
use proptest::{collection::vec, prelude::*};

use super::{Change, Facts, Foreseen, ViewScratch, change};
use crate::policy::{
    client::ClientIp,
    decision::{Decision, Reason, Verdict},
    facts::{ClientFacts, GeoFacts, RequestFacts},
    lang::{Unknown, UnknownHeaders, fields::Fact},
    normalize::{Host, PathOptions, Target},
    phases::Scratch,
    plan::tests::{Maker, policy},
    testing::Request,
};

/// The parts of a request of which some were exchanged for those of another one.
struct Completed {
    host: Host,
    target: Target,
    headers: http::HeaderMap,
}

/// What is known of a request.
struct Knowledge {
    facts: Vec<Fact>,
    headers: Option<Vec<&'static str>>,
}

impl Knowledge {
    fn of(maker: &mut Maker) -> Self {
        let (facts, headers) = maker.unknown();
        Self { facts, headers }
    }

    fn unknown(&self) -> Unknown<'_> {
        Unknown {
            facts: &self.facts,
            headers: self
                .headers
                .as_deref()
                .map_or(UnknownHeaders::None, UnknownHeaders::AllBut),
        }
    }

    fn hides(&self, fact: Fact) -> bool {
        self.facts.contains(&fact)
    }

    /// What is known of one request, and of the rest what another one says.
    fn completed(&self, known: &RequestFacts<'_>, other: &RequestFacts<'_>) -> Completed {
        Completed {
            host: self.host(known, other),
            target: self.target(known, other),
            headers: self.headers(known, other),
        }
    }

    fn host(&self, known: &RequestFacts<'_>, other: &RequestFacts<'_>) -> Host {
        let name = if self.hides(Fact::Host) { other } else { known }.host.name.as_str();
        let port = if self.hides(Fact::Host) || self.hides(Fact::Port) {
            ":8443"
        } else {
            ""
        };
        Host::parse(&format!("{name}{port}")).expect("a host")
    }

    fn target(&self, known: &RequestFacts<'_>, other: &RequestFacts<'_>) -> Target {
        if !self.hides(Fact::RawTarget) {
            return known.target.clone();
        }
        let path = if self.hides(Fact::Path) { other } else { known }.target.path();
        let query = if self.hides(Fact::Query) { other } else { known }.target.query();
        // The same path in another spelling.
        let raw = format!("/.{path}?{query}");
        Target::parse(&raw, PathOptions::default()).expect("a target")
    }

    fn headers(&self, known: &RequestFacts<'_>, other: &RequestFacts<'_>) -> http::HeaderMap {
        let Some(names) = &self.headers else {
            return self.with_longer_referer(known.headers.clone());
        };
        let is_known = |name: &http::HeaderName| names.contains(&name.as_str());
        let of = |facts: &RequestFacts<'_>, wanted: bool| {
            let all = facts.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
            all.filter(|(name, _)| is_known(name) == wanted).collect::<Vec<_>>()
        };
        let mut headers = http::HeaderMap::new();
        for (name, value) in of(known, true).into_iter().chain(of(other, false)) {
            headers.append(name, value);
        }
        if names.contains(&"referer") {
            self.with_longer_referer(headers)
        } else {
            headers
        }
    }

    /// Of a Referer that is not known whole, the host is.
    fn with_longer_referer(&self, mut headers: http::HeaderMap) -> http::HeaderMap {
        if self.hides(Fact::Header("referer"))
            && let Some(referer) = headers.get("referer")
        {
            let longer = [referer.as_bytes(), b"?admin"].concat();
            headers.insert("referer", http::HeaderValue::from_bytes(&longer).expect("a value"));
        }
        headers
    }

    fn facts<'c>(&self, known: &RequestFacts<'c>, other: &RequestFacts<'c>, made: &'c Completed) -> RequestFacts<'c> {
        let of = |fact| if self.hides(fact) { other } else { known };
        RequestFacts {
            now: of(Fact::Now).now,
            site: known.site,
            tls: of(Fact::Tls).tls,
            version: of(Fact::Version).version,
            method: of(Fact::Method).method,
            host: &made.host,
            target: &made.target,
            headers: &made.headers,
            client: ClientFacts {
                ip: ClientIp::new(of(Fact::Client).client.ip.addr()),
                geo: GeoFacts {
                    country: of(Fact::Country).client.geo.country,
                    continent: of(Fact::Continent).client.geo.continent,
                    asn: of(Fact::Asn).client.geo.asn,
                },
            },
        }
    }
}

fn request(seed: u64) -> Request {
    Maker(Rng::with_seed(seed)).request()
}

/// Whether it is allowed, and by which rule it was decided.
fn told(decision: &Decision<'_>) -> (bool, Option<String>, Option<Reason>) {
    match &decision.verdict {
        Verdict::Allow { rule, .. } => (true, rule.map(|rule| rule.id.to_string()), None),
        Verdict::Block { rule, reason } => (false, rule.map(|rule| rule.id.to_string()), Some(*reason)),
    }
}

fn assert_holds(foreseen: &Foreseen<'_>, decision: &Decision<'_>, about: &str) {
    let (allowed, rule, reason) = told(decision);
    let foreseen_rule = foreseen.rule().map(|rule| rule.id.to_string());
    match foreseen {
        Foreseen::Undecided(_) => {}
        Foreseen::Allow { is_sure, .. } => {
            assert!(allowed, "{about}");
            assert!(!is_sure || foreseen_rule == rule, "{about}");
        }
        Foreseen::Block {
            is_sure, reason: why, ..
        } => {
            assert!(!allowed, "{about}");
            assert!(!is_sure || (foreseen_rule == rule && Some(*why) == reason), "{about}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_a_request_of_which_all_is_known_the_decision_is_foreseen(
        seeds in vec(any::<u64>(), 1..14), requests in vec(any::<u64>(), 6),
    ) {
        let (policy, text) = policy(&seeds);
        let view = policy.view(Unknown::NOTHING);
        let (mut scratch, mut seen) = (Scratch::new(), ViewScratch::default());
        for seed in requests {
            let request = request(seed);
            let facts = request.facts();
            let foreseen = view.decide(&facts, &mut seen);
            prop_assert!(!matches!(foreseen, Foreseen::Undecided(_)), "{}\n{:?}", text, request);
            let about = format!("{text}\n{request:?}");
            assert_holds(&foreseen, &policy.decide(&facts, &mut scratch), &about);
            assert_holds(&foreseen, &policy.interpret(&facts, &mut scratch), &about);
            let explained = policy.explain(&facts).verdict;
            prop_assert_eq!(explained.verdict == "allow", matches!(foreseen, Foreseen::Allow { .. }));
            prop_assert_eq!(explained.rule.as_deref(), foreseen.rule().map(|rule| rule.id.as_str()));
        }
    }

    #[test]
    fn a_verdict_that_is_foreseen_holds_whatever_the_unknown_facts_are(
        seeds in vec(any::<u64>(), 1..10), known in any::<u64>(), others in vec(any::<u64>(), 12),
    ) {
        let (policy, text) = policy(&seeds);
        let mut maker = Maker(Rng::with_seed(known));
        let request = maker.request();
        let knowledge = Knowledge::of(&mut maker);
        let known = request.facts();
        let view = policy.view(&knowledge.unknown());
        let (mut scratch, mut seen) = (Scratch::new(), ViewScratch::default());
        let mut foreseen: Option<Foreseen<'_>> = None;
        for seed in others {
            let other = self::request(seed);
            let other = other.facts();
            let made = knowledge.completed(&known, &other);
            let facts = knowledge.facts(&known, &other, &made);
            // What stands in place of the unknown facts is not looked at, so the first one's view is that of all.
            let foreseen = foreseen.get_or_insert_with(|| view.decide(&facts, &mut seen));
            let about = format!("{text}\n{facts:?}\n{:?}\n{foreseen:?}", knowledge.unknown());
            assert_holds(foreseen, &policy.decide(&facts, &mut scratch), &about);
        }
    }

    #[test]
    fn a_change_that_is_foreseen_comes_whatever_the_unknown_facts_are(
        seeds in vec(any::<u64>(), 1..10), replaced in any::<prop::sample::Index>(), with in any::<u64>(), dropped: bool,
        known in any::<u64>(), others in vec(any::<u64>(), 12),
    ) {
        let mut changed = seeds.clone();
        let at = replaced.index(seeds.len());
        changed[at] = with;
        if dropped {
            changed.truncate(at.max(1));
        }
        let ((before, text), (after, text_after)) = (policy(&seeds), policy(&changed));
        let mut maker = Maker(Rng::with_seed(known));
        let request = maker.request();
        let knowledge = Knowledge::of(&mut maker);
        let known = request.facts();
        let unknown = knowledge.unknown();
        let view_before = before.view(&unknown);
        let view_after = after.view(&unknown).beside(&view_before);
        let (mut scratch, mut seen) = (Scratch::new(), ViewScratch::default());
        for seed in others {
            let other = self::request(seed);
            let other = other.facts();
            let made = knowledge.completed(&known, &other);
            let facts = knowledge.facts(&known, &other, &made);
            let (was, rule_was, _) = told(&before.decide(&facts, &mut scratch));
            let (is, rule_is, _) = told(&after.decide(&facts, &mut scratch));
            for shared in [Facts::Shared, Facts::Apart] {
                let change = change((&view_before, &facts), (&view_after, &facts), shared, &mut seen);
                let about = format!("{text}\n=====\n{text_after}\n{facts:?}\n{unknown:?}\n{change:?}");
                match change {
                    Change::None { is_decided, blocks } => {
                        prop_assert_eq!(was, is, "{}", about);
                        prop_assert!(!is_decided || was != blocks, "{}", about);
                        prop_assert!(!is_decided || rule_was == rule_is, "{}", about);
                    }
                    Change::Blocks(..) => prop_assert_eq!((was, is), (true, false), "{}", about),
                    Change::Allows(..) => prop_assert_eq!((was, is), (false, true), "{}", about),
                    Change::OtherRule(..) => prop_assert_eq!(was, is, "{}", about),
                    Change::Undecided(_) => {}
                }
            }
        }
    }
}

/// The properties above would say nothing if everything were undecided, or nothing.
#[test]
fn random_requests_of_which_facts_are_unknown_come_to_verdicts_of_every_sort() {
    let [mut allowed, mut blocked, mut undecided] = [0; 3];
    let mut scratch = ViewScratch::default();
    for seed in 0..400_u64 {
        let seeds: Vec<u64> = (0..4).map(|n| seed * 4 + n).collect();
        let (policy, _) = policy(&seeds);
        let mut maker = Maker(Rng::with_seed(seed));
        let request = maker.request();
        let knowledge = Knowledge::of(&mut maker);
        let view = policy.view(&knowledge.unknown());
        match view.decide(&request.facts(), &mut scratch) {
            Foreseen::Allow { .. } => allowed += 1,
            Foreseen::Block { .. } => blocked += 1,
            Foreseen::Undecided(_) => undecided += 1,
        }
    }
    assert!(
        allowed > 40 && blocked > 40 && undecided > 40,
        "{allowed} allowed, {blocked} blocked, {undecided} undecided"
    );
}
