//! What clients say of themselves, where they are, and which programs a text means.

use super::{
    examined::Read,
    finding::{Check, Finding},
    leaves::Leaf,
    proof::{Values, is_open_to},
};
use crate::policy::{
    fault::Place,
    rule::{Action, Phase, Rule, SkipTarget},
    user_agents::{Agent, Category},
};

/// An allow that asks for nothing but what anyone can send.
pub(super) fn claimed(rule: &Rule, leaves: &[Leaf<'_>], findings: &mut Vec<Finding>) {
    const HEADERS: [&str; 8] = [
        "user-agent",
        "referer",
        "origin",
        "x-forwarded-for",
        "x-real-ip",
        "x-requested-with",
        "accept",
        "accept-language",
    ];
    const FIELDS: [&str; 7] = [
        "http.user_agent",
        "http.referer",
        "http.x_forwarded_for",
        "portcullis.user_agent.category",
        "portcullis.referer.host",
        "portcullis.referer.is_own",
        "http.request.accepted_languages",
    ];
    let opens = match &rule.action {
        Action::Allow => true,
        Action::Skip(targets) => targets.contains(&SkipTarget::Phase(Phase::Lockdown)),
        Action::Block | Action::Log => false,
    };
    let is_claim = |leaf: &Leaf<'_>| match leaf.field() {
        Some(("http.request.headers", Some(key))) => HEADERS.contains(&key.to_ascii_lowercase().as_str()),
        Some((field, _)) => FIELDS.contains(&field),
        None => false,
    };
    let positive = leaves.iter().find(|leaf| leaf.wanted && is_claim(leaf));
    if let (true, true, Some(leaf)) = (opens, leaves.iter().all(is_claim), positive) {
        findings.push(
            Finding::new(
                Check::ClaimedByClient,
                leaf.place.clone(),
                format!(
                    "anyone can make `{}` {} their requests",
                    rule.id,
                    match rule.action {
                        Action::Allow => "allow",
                        _ => "open locks to",
                    }
                ),
            )
            .of(rule)
            .label("a client says this of itself")
            .help("ask for its address too: `and ip.src in $name`; or for a secret in a header of its own"),
        );
    }
}

/// Countries that a request is not from: an unknown one is none of them.
pub(super) fn countries(read: &Read<'_>, leaves: &[Leaf<'_>], findings: &mut Vec<Finding>) {
    if read.rule.action == Action::Log {
        return;
    }
    for field in ["ip.src.country", "ip.src.continent"] {
        let open = read.cases.0.iter().any(|case| {
            let domain = case.0.get(field).map(|domain| &domain.values);
            matches!(domain, Some(Values::Texts(texts)) if is_open_to(texts, b"XX"))
        });
        let mut about = leaves
            .iter()
            .filter(|leaf| leaf.field().is_some_and(|(name, _)| name == field));
        let says_so = read.rule.expression.as_str().contains("\"XX\"");
        let (true, false, Some(leaf)) = (open, says_so, about.next()) else {
            continue;
        };
        let does = match read.rule.action {
            Action::Block => "refuses",
            Action::Allow => "allows",
            Action::Skip(_) | Action::Log => "concerns",
        };
        findings.push(
            Finding::new(
                Check::UnknownCountry,
                leaf.place.clone(),
                format!(
                    "`{}` {does} addresses of unknown country too, private ones included",
                    read.rule.id
                ),
            )
            .of(read.rule)
            .label("`XX` is none of these")
            .help(
                "add \"XX\" to the set to leave them alone; `or ip.src.country eq \"XX\"` says that they are meant"
                    .replace("ip.src.country", field),
            ),
        );
    }
}

/// A short text that names of welcome programs contain, though they do not begin with it.
pub(super) fn broad(rule: &Rule, text: &[u8], place: &Place) -> Option<Finding> {
    const LONGEST: usize = 6;
    const SHOWN: usize = 3;
    let text = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
    if text.len() > LONGEST {
        return None;
    }
    let welcome = |agent: &&Agent| {
        matches!(
            agent.category,
            Category::SearchEngine | Category::Monitoring | Category::Social
        )
    };
    let named = Agent::all()
        .iter()
        .filter(welcome)
        .filter(|agent| agent.contains.to_ascii_lowercase().find(&text).is_some_and(|at| at > 0));
    let names: Vec<&str> = named.map(|agent| agent.name.as_str()).collect();
    if names.len() < 2 {
        return None;
    }
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        1 => " and one other".to_owned(),
        more => format!(" and {more} others"),
    };
    let shown = names.get(..SHOWN.min(names.len())).unwrap_or_default().join(", ");
    Some(
        Finding::new(
            Check::BroadAgent,
            place.clone(),
            format!("`{}` refuses well-known programs that contain \"{text}\"", rule.id),
        )
        .of(rule)
        .label(format!("{shown}{more}"))
        .help("use longer texts, or `category` in `[[user_agent]]`, if they are welcome"),
    )
}
